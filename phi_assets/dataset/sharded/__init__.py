"""A sample made shard by shard, by processes that share nothing but files: judge, compare, write, merge, verify."""
