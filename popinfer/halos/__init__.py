"""Halos that the model is integrated over: drawn lightcones, and a user's own simulation.

`lightcone` draws weighted halos from diffhalos' abundances and its flow of assembly histories. A user's
halos come from files: `formats` reads them, one format a module, as chunks of a `HaloTable` (`table`) without
little h; `trees` fits mass histories with diffmah; `completed` adds what the file lacks; `reservoir` keeps as
many as are wanted; `sample` draws batches from these. `checks` refuses what can't be right, `description`
says what a sample is, and `fitted_file` stores fits.
"""
