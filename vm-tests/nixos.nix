# The machines of a scenario on NixOS: one whose name begins with s3 has the two
# S3 servers, any other PostgreSQL and walkeep, by the flake's module, and what
# the scenario's own modules say.
{
  pkgs,
  module,
}: name: particular: let
  inherit (pkgs) lib;
  ports = [7070 7071];

  # One authority for all machines.
  certificates = pkgs.runCommand "walkeep-test-certificates" {nativeBuildInputs = [pkgs.openssl];} ''
    mkdir $out
    sh ${./guest/certify} $out
  '';

  # As guest/base has them: signatures are verified, and TLS is all they speak.
  server = port: {
    name = "store@${toString port}";
    value = {
      wantedBy = ["multi-user.target"];
      environment = {
        ROOT_ACCESS_KEY_ID = "tester";
        ROOT_SECRET_ACCESS_KEY = "not-a-secret";
      };
      serviceConfig = {
        ExecStartPre = "${pkgs.coreutils}/bin/mkdir -p /srv/store/${toString port}/wal";
        ExecStart = "${pkgs.versitygw}/bin/versitygw --keep-alive --port :${toString port} --cert ${certificates}/s3.pem --key ${certificates}/s3.key posix /srv/store/${toString port}";
        Restart = "on-failure";
      };
    };
  };

  store = port: {
    type = "s3";
    endpoint = "https://s3:${toString port}";
    bucket = "wal";
    ca_file = "${certificates}/ca.pem";
    # A test's key is no secret; the path is one that a host would have.
    access_key_id_file = "/etc/walkeep/store.id";
    secret_access_key_file = "/etc/walkeep/store.secret";
  };

  # What an archive needs to be told here, whichever cluster's it is.
  archive = {
    staging.size = lib.mkDefault "2GiB";
    stores.one = store 7070;
    stores.two = store 7071;
    settings.alerts.sink = [
      {
        type = "command";
        command = [pkgs.runtimeShell "${./guest/base/usr/local/bin/told}"];
      }
    ];
  };
in
  if lib.hasPrefix "s3" name
  then {
    systemd.services = lib.listToAttrs (map server ports);
    networking.firewall.allowedTCPPorts = ports;
  }
  else {
    imports = [module] ++ particular;
    _module.args.archive = archive;

    services.postgresql = {
      enable = lib.mkDefault true;
      package = pkgs.postgresql_17;
      # Small segments, so that hundreds of them take seconds.
      initdbArgs = ["--wal-segsize=1"];
    };
    services.walkeep =
      {enable = lib.mkDefault true;}
      // archive
      // {stores = lib.mkDefault archive.stores;};
    environment.etc."walkeep/store.id".text = "tester";
    environment.etc."walkeep/store.secret".text = "not-a-secret";
    virtualisation.memorySize = 1024;
    virtualisation.diskSize = 4096;
  }
