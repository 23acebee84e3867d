"""Makes policies and reward models. The way of `bestofn train dpo --recipe R`:

    settings  run.config           -> dpo.trainer.DPOConfig
    records   samples.preferences  -> data.read (a file), or labs, policy.rollout and samples.label (a lab)
    prepare   dpo.trainer.prepare  -> run.pretrained, dpo.data
    train     run.supervised       -> dpo.trainer.DPOTrainer.compute_loss
    measure   evaluation.policy    -> run.cards

sft and reward go the same way. ppo has a loop of its own: ppo.trainer.PPOTrainer.step over run.updates.
"""
