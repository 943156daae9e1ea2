"""How each engine is started. A file is named like the `engine` of its profiles and holds

IMAGE      container image, {version} filled in
PORT       where a server listens
args       (offer, pool) -> the words that follow the program, model included
PROGRAM    the program, as words
BACKEND    what Dynamo calls it
environment  (pool) -> variables of a start script, where `replica` is the replica's number
extra      (offer, pool) -> further files by name that the command line refers to
"""
