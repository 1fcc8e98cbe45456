# A cluster that services.postgresql does not run.
{
  systemd.services.orders-db.serviceConfig.ExecStart = "/run/current-system/sw/bin/postgres -D /srv/orders";
  services.walkeep.clusters.orders = {
    unit = "orders-db";
    user = "orders";
    group = "orders";
    dataDir = "/srv/orders";
    stores.nas = {
      type = "directory";
      path = "/mnt/nas";
    };
    timers.ship.enable = false;
  };
}
