"""A sample made shard by shard, by several processes that share nothing but files: judge, compare, write, merge."""
