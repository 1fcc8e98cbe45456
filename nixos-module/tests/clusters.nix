# Clusters that services.postgresql does not run.
{
  lib,
  host,
  example,
  equal,
  holds,
  complains,
  accepted,
  ...
}: let
  orders = ./orders.nix;
  changed = change: [orders {services.walkeep.clusters = change;}];
  config = host [orders];
  services = config.systemd.services;
  # That of services.postgresql.
  inherit (example.services.postgresql) dataDir;
in {
  "another cluster has units, configuration and directories of its own" =
    equal
    {
      units = map (name: services ? ${name}) ["walkeep@orders" "walkeep-backup@orders" "walkeep-ship@orders"];
      timers = map (name: config.systemd.timers ? ${name}) ["walkeep-backup@orders" "walkeep-ship@orders"];
      etc = config.environment.etc ? "walkeep/orders.toml";
      first = services ? walkeep && config.environment.etc ? "walkeep/walkeep.toml";
    }
    {
      units = [true true true];
      timers = [true false];
      etc = true;
      first = true;
    };
  "its daemon and its jobs name it" =
    equal
    (map (name: lib.removePrefix "${config.services.walkeep.package}" services.${name}.serviceConfig.ExecStart) ["walkeep@orders" "walkeep-backup@orders"])
    ["/bin/walkeep --cluster %i run --no-schedule" "/bin/walkeep --cluster %i backup create"];
  "they run as its users, in its group" =
    equal
    (map (name: {inherit (services.${name}.serviceConfig) User Group;}) ["walkeep@orders" "walkeep-backup@orders" "walkeep-prune@orders"])
    [
      {
        User = "walkeep";
        Group = "orders";
      }
      {
        User = "orders";
        Group = "orders";
      }
      {
        User = "walkeep";
        Group = "orders";
      }
    ];
  "its server may write to its directories, and its jobs come after it" = {
    ok =
      services.orders-db.serviceConfig.ReadWritePaths
      == ["-/var/lib/walkeep/orders" "-/var/lib/walkeep/orders/staging" "-/var/lib/walkeep/orders/spool" "-/mnt/nas"]
      && lib.elem "orders-db.service" services."walkeep-backup@orders".after
      && !(lib.elem "postgresql.service" services."walkeep-backup@orders".after);
    is = [services.orders-db.serviceConfig.ReadWritePaths services."walkeep-backup@orders".after];
    should = "its four places; orders-db.service";
  };
  "its directories are its group's, and the way to them is open" = holds config.systemd.tmpfiles.rules [
    "d /var/lib/walkeep 2771 walkeep postgres -"
    "d /var/lib/walkeep/orders 2770 walkeep orders -"
    "d /var/lib/walkeep/orders/staging 2770 walkeep orders -"
  ];
  "no daemon gives another cluster's directory to its group" =
    equal
    [services.walkeep.serviceConfig.StateDirectory services."walkeep@orders".serviceConfig.StateDirectory services.walkeep.serviceConfig.StateDirectoryMode]
    ["walkeep" "walkeep/%i" "2771"];
  "a host with such clusters alone needs no services.postgresql" = accepted [
    orders
    {
      services.postgresql.enable = lib.mkForce false;
      services.walkeep.stores = lib.mkForce {};
    }
  ];
  "the daemons' user shares directories with all of them" =
    equal config.users.users.walkeep.extraGroups ["postgres" "orders"];
  "what its postgresql.conf has to say can be read off" = equal config.services.walkeep.clusters.orders.postgresqlSettings {
    archive_command = "/run/current-system/sw/bin/walkeep --config /etc/walkeep/orders.toml wal push %p";
    restore_command = "/run/current-system/sw/bin/walkeep --config /etc/walkeep/orders.toml wal fetch %f %p";
  };
  "the first cluster is as it was" =
    equal (builtins.toJSON services.walkeep-backup.serviceConfig) (builtins.toJSON example.systemd.services.walkeep-backup.serviceConfig);
  "a cluster without stores is refused" =
    complains (changed {orders.stores = lib.mkForce {};})
    "services.walkeep.clusters.orders.stores: no store is named; the archive needs at least one, better two in different clouds";
  "a unit that is not there is refused" =
    complains (changed {orders.unit = lib.mkForce "orders-database";})
    "services.walkeep.clusters.orders.unit: there is no systemd.services.orders-database";
  "the cluster of services.postgresql is refused here" =
    complains (changed {orders.unit = lib.mkForce "postgresql";})
    "services.walkeep.clusters.orders.unit: the cluster of services.postgresql is set up by services.walkeep itself";
  "two clusters in one staging directory are refused" =
    complains (changed {orders.staging.path = "/var/lib/walkeep/staging";})
    "services.walkeep: two clusters have the same staging directory: /var/lib/walkeep/staging, /var/lib/walkeep/staging";
  "two pages at one address are refused" =
    complains (changed {orders.settings.serve.listen = "127.0.0.1:9847";})
    "services.walkeep: two clusters have the same serve.listen: 127.0.0.1:9847, 127.0.0.1:9847";
  "its page is at a socket in its runtime directory" =
    equal
    [config.environment.etc."walkeep/orders.toml".source.settings.serve.listen services."walkeep@orders".serviceConfig.RuntimeDirectory]
    ["unix:/run/walkeep/orders/page.sock" "walkeep/%i"];
  "two clusters with one catalog are refused" =
    complains (changed {orders.settings.catalog.path = "/var/lib/walkeep/catalog.redb";})
    "services.walkeep: two clusters have the same catalog: /var/lib/walkeep/catalog.redb, /var/lib/walkeep/catalog.redb";
  "two clusters of one data directory are refused" =
    complains (changed {orders.dataDir = lib.mkForce dataDir;})
    "services.walkeep: two clusters have the same data directory: ${dataDir}, ${dataDir}";
  "a name that is a directory of the first cluster's is refused" =
    complains [
      orders
      {
        services.walkeep.clusters.staging = {
          unit = "orders-db";
          dataDir = "/srv/staging";
          stores.nas = {
            type = "directory";
            path = "/mnt/nas";
          };
          # Apart from the name all is well.
          staging.path = "/srv/wal";
        };
      }
    ]
    "services.walkeep.clusters.staging: no name for a cluster; lower-case letters, digits, - and _, and not walkeep, staging, spool, drill or receipts";
}
