{
  services.postgresql.enable = true;

  services.walkeep = {
    enable = true;

    stores.r2 = {
      type = "r2";
      account_id = "0123456789abcdef0123456789abcdef";
      bucket = "main-wal-r2";
      access_key_id_file = "/run/secrets/r2.id";
      secret_access_key_file = "/run/secrets/r2.secret";
    };
    stores.b2 = {
      type = "b2";
      region = "us-east-005";
      bucket = "main-wal-b2";
      access_key_id_file = "/run/secrets/b2.id";
      secret_access_key_file = "/run/secrets/b2.secret";
    };

    # A volume of its own: nothing else can fill it, and it nothing else.
    staging.size = "20GiB";
    staging.createVolume = true;

    # Everything else of the configuration file, by its names there.
    settings.retention.window = "30d";
    settings.alerts.sink = [
      {
        type = "slack";
        url_file = "/run/secrets/slack.url";
      }
    ];

    # When what runs; these are the defaults but for this one.
    timers.drill.onCalendar = "Sun 05:00";
  };
}
