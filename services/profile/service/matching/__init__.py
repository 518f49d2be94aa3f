"""Finding who is likely there twice: probabilistic linkage (Fellegi & Sunter 1969, learned by EM), by splink on DuckDB.

`likeness` says what is compared, `pool` holds the descriptions, `pairs` chooses who is compared with whom, `model`
learns and weighs, `report` tells an operator. Both libraries are an optional extra, so they are imported only where
they are used, in `pool` and `model`. They work in a file of a temporary folder with bounded memory, ask no network, and
leave nothing behind. The SQL here is how one calculates in DuckDB; the service's database is asked in `store` alone.
"""
