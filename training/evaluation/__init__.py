"""What was learned, measured: a running server, a policy's answers, a reward model's judgement, published benchmarks.

server        a running server over HTTP, for each best_of
measure       held-out samples of a policy and their gold reward; best-of-n offline. Model cards use it
baselines     every way to choose among samples that is free, beside the reward model: pure
held_out      the answers of a policy that those need, and what the policy thinks of them
scoring       rewards of any number of comparisons
reward_model  `bestofn evaluate reward`: pairs (pairwise), benchmarks, best-of-n in a lab
policy        `bestofn evaluate policy`: gold, proxy, KL, length, diversity, win rate
report        any of them as Markdown, JSON and PNG (plots) in a folder
"""
