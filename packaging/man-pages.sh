#!/bin/sh
# Writes walkeep's manual pages, walkeep.1 and one for each verb.
#
#     packaging/man-pages.sh WALKEEP DIRECTORY
set -eu

walkeep=$1
directory=$2

# pages NAME VERB...: the page of a verb, and of the verbs that it names.
pages() {
    name=$1
    shift
    "$walkeep" man "$@" >"$directory/$name.1"
    for below in $(sed -n "s/^\(walkeep.*\)(1)\$/\1/p" "$directory/$name.1" | tr -d '\\'); do
        # A subshell: the loop's variables are each page's own.
        (pages "$below" "$@" "${below#"$name"-}")
    done
}

mkdir -p "$directory"
pages walkeep
