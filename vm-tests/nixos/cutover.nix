# A host that copies its WAL with `cp`; walkeep comes with the specialisation.
{
  config,
  lib,
  ...
}: let
  old = "/srv/archive";
in {
  services.walkeep.enable = lib.mkOverride 90 false;
  services.walkeep.staging.path = old;
  services.postgresql.settings = lib.mkIf (!config.services.walkeep.enable) {
    archive_mode = "on";
    archive_command = "test ! -e ${old}/%f && cp %p ${old}/%f";
  };
  systemd.services.postgresql.serviceConfig.ReadWritePaths = [old];
  systemd.tmpfiles.rules = lib.mkIf (!config.services.walkeep.enable) ["d ${old} 0750 postgres postgres -"];

  specialisation.walkeep.configuration.services.walkeep.enable = lib.mkOverride 80 true;
}
