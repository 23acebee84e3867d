"""Who says which response is better: the lab's gold rule (`gold`), a language model (`judge`), people (`people`)."""
