"""The child process of `bench_scale`: one case in, its row out."""

from dualroute.bench.scale import serve

serve()
