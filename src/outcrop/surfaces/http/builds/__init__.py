"""Builds over HTTP: each in a process of its own, told of in small files that every process of the server can read.

The story of a build: a route begins it (`running`), which takes the one lock of the collection's builds and writes its first state
(`states`); an upload is written to a file beside it (`uploading`), a source of the server's is looked up in the folders that the
operator allowed (`sources`); then a process of low priority is started (`child`) that builds, and writes how far it is. It ends in
order when somebody asks for that (a file beside the state), when its server ends in whatever way (the pipe between them breaks), or
when it is told to (SIGTERM, SIGINT). `events` streams the states, `routes` are the doors.

**For metrics**: `states.totals(folder)` has how many builds ended in which state since the collection was made, with the seconds
that they took: both only grow. `states.all_of(folder)` are the last ones, with the running one first; `Build.seconds` is how long
one took, or takes. `folder` is `states.BuildsFolder.of(db, name)`. All of these read small files and take no lock for long.
"""
