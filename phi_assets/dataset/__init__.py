"""Chat data: from the hub, a folder or the package, through a sample, to files that a fine-tune can read."""

import os

# For polars, which reads it when it is loaded. Its allocator by default keeps free memory apart for each of eight sets
# of threads and gives each piece above 8 MB back to the system at once. Here a few threads hand such pieces to each
# other all the time: fetching fresh ones was a sixth of the work. https://jemalloc.net/jemalloc.3.html#opt.narenas
os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:1,oversize_threshold:0")
