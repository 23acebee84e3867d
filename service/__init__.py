"""The server: an OpenAI-compatible front over vLLM that samples N candidates and returns the best one.

The way of a request:

    admit     http.gateway.Gateway                  -> rerank.request.read_ask, http.books -> load.admission.Admission
              (vLLM's application: chat template, tools, formats; rerank.context goes with the request)
    plan      vllm.client.RerankingEngine.generate  -> rerank.plan.make_plan
    generate  rerank.run.Run <-> rerank.strategies, vllm.sampling
    score     rerank.run.Run                        -> rerank.scoring, rerank.supervised_scorer
              (of the conversation that vllm.conversation finds, by the answers that vllm.answers reads)
    select    rerank.plan.Plan.choose               -> rerank.selection
    respond   http.answer_sender                    -> http.answer_patch, http.dialects, http.rerank_object
    record    http.books -> http.recorder           -> observe.metrics, records.candidate_log, load.latency_controller
"""
