"""Networks: encoder × bottleneck × fusion × decoder, each a row of a table, in 2 and 3 axes alike."""
