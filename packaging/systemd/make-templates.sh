#!/bin/sh
# Makes walkeep@.service, walkeep-backup@.service, walkeep-backup@.timer and so
# on, for hosts with several clusters, from the units for one. Run it after a
# change to those; tests/units.rs compares.
#
#     packaging/systemd/make-templates.sh [DIRECTORY]
set -eu
cd "$(dirname "$0")"
target=${1:-.}
for unit in walkeep.service walkeep-*.service walkeep-*.timer; do
    case $unit in *@*) continue ;; esac
    {
        echo "# Made from $unit by make-templates.sh. The instance is the cluster's name."
        # The comment at the top of the original is about one cluster.
        sed -e '1,/^\[Unit\]/{/^#/d}' \
            -e 's|/usr/bin/walkeep |/usr/bin/walkeep --cluster %i |' \
            -e 's|/etc/walkeep/walkeep\.toml|/etc/walkeep/%i.toml|' \
            -e 's|/var/lib/walkeep/staging|/var/lib/walkeep/%i/staging|' \
            -e 's|^StateDirectory=walkeep$|StateDirectory=walkeep walkeep/%i|' \
            -e 's|^RuntimeDirectory=walkeep$|RuntimeDirectory=walkeep/%i|' \
            -e 's|^Description=walkeep: |Description=walkeep, cluster %i: |' \
            "$unit"
    } >"$target/${unit%.*}@.${unit##*.}"
done
