"""Known faults, case by case: ``python -m tests.replay [CASE_DIR …]`` plays each against the command ``bucketline``.

A case is a folder of data: an input, what the providers and the store do, steps, and what must be seen afterwards
(the form is in the cases' own FORMAT.md). The product is run as a user runs it: its configuration file, its inbox,
its command, its files. ``adapter.py`` alone knows its names.

    case        reads a folder                          services    a real Redis, a real S3 server
    replies     which reply a call gets                 s3proxy     the store's bad weather
    wire        how a reply goes out, cuts and hangs    adapter     the product's names
    scripted    a provider on a port of its own         steps       what happens, in order
    child       a process, ended in any event           observe     what was seen, as items
    play        one case from start to end              asserts     whether it is right
"""
