# What PostgreSQL runs. By the system's path and not the package's: an upgrade
# of walkeep changes nothing in postgresql.conf, and restarts no server.
configuration: let
  walkeep = "/run/current-system/sw/bin/walkeep --config ${configuration}";
in {
  archive_command = "${walkeep} wal push %p";
  restore_command = "${walkeep} wal fetch %f %p";
}
