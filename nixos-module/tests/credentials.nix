# Secrets: files that both users read at each use, and nothing in the store.
{
  lib,
  example,
  complains,
  accepted,
  fails,
  host,
  equal,
  ...
}: let
  with_ = table: [{services.walkeep.stores.r2 = lib.mapAttrs (_: lib.mkForce) table;}];
  option = "services.walkeep.stores.r2";
in {
  "a credential as a value is refused" =
    complains (with_ {secret_access_key_file = "K005abcdefghijklmnop";})
    "${option}.secret_access_key_file: not an absolute path; name the file that holds the secret, never the secret itself";
  "a path literal is refused, since Nix would copy it" =
    complains (with_ {access_key_id_file = ./example.nix;})
    "${option}.access_key_id_file: a path literal is copied into the Nix store, where everybody can read it; write it as text, \"/run/secrets/…\"";
  "a file in the store is refused" =
    complains (with_ {access_key_id_file = "${builtins.storeDir}/abc-secret";})
    "${option}.access_key_id_file: a file in the Nix store can be read by everybody; name one outside of it";
  "a secret among a store's other keys is refused" =
    complains (with_ {secret_access_key = "K005abcdefghijklmnop";})
    "${option}.secret_access_key: the configuration file can be read by everybody; use secret_access_key_file";
  "a sink's secret is refused" =
    complains [
      {
        services.walkeep.settings.alerts.sink = lib.mkForce [
          {
            type = "slack";
            url = "https://hooks.example.org/T0/B0";
          }
        ];
      }
    ]
    "services.walkeep.settings.alerts.sink: the configuration file can be read by everybody; use url_file instead of url";
  "a store in a cloud without its key is refused" =
    complains (with_ {secret_access_key_file = null;})
    "${option}: a store of type \"r2\" needs access_key_id_file and secret_access_key_file";
  "a directory needs none" = accepted [
    {
      services.walkeep.stores.nas = {
        type = "directory";
        path = "/mnt/nas";
      };
    }
  ];
  "a credential that is no text at all is no evaluation" =
    fails (host []).services.walkeep.stores.r2 (host (with_ {access_key_id_file = 5;})).services.walkeep.stores.r2;
  "no unit has a copy of a credential: a new key is used at once, by PostgreSQL's commands too" = let
    copies = lib.filterAttrs (_: unit: unit.serviceConfig ? LoadCredential || unit.serviceConfig ? LoadCredentialEncrypted || unit.serviceConfig ? EnvironmentFile) (lib.filterAttrs (name: _: lib.hasPrefix "walkeep" name) example.systemd.services);
  in
    equal (lib.attrNames copies) [];
}
