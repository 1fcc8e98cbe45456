#!/bin/sh
# Has walkeep print its manual pages and its completions into a directory:
#
#     packaging/shell-files.sh WALKEEP DIRECTORY
#
# man/walkeep-VERB.1.gz for each verb there is, walkeep.bash, _walkeep (zsh),
# walkeep.fish.
set -eu
walkeep=$1
to=$2
rm -rf "$to"
mkdir -p "$to/man"

# The verbs below "$@", as help lists them.
verbs() {
    "$walkeep" "$@" --help | awk '
        /^Commands:/ { listed = 1; next }
        /^[^ ]/ { listed = 0 }
        listed && /^  [a-z]/ && $1 != "help" { print $1 }'
}

page() {
    name=$(echo "walkeep $*" | tr ' ' -)
    # No time in it: the same program gives the same file.
    "$walkeep" man "$@" | gzip -9n >"$to/man/${name% }.1.gz"
}

page_all() {
    for verb in $(verbs "$@"); do
        page "$@" "$verb"
        (page_all "$@" "$verb")
    done
}

"$walkeep" man | gzip -9n >"$to/man/walkeep.1.gz"
page_all
"$walkeep" completions bash >"$to/walkeep.bash"
"$walkeep" completions zsh >"$to/_walkeep"
"$walkeep" completions fish >"$to/walkeep.fish"
