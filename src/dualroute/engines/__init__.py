"""Where a pass over the table runs; solvers see only what `local.LocalEngine` offers."""
