# "20GiB" as bytes.
{lib}: text: let
  units = {
    MiB = 1024 * 1024;
    GiB = 1024 * 1024 * 1024;
    TiB = 1024 * 1024 * 1024 * 1024;
  };
  parts = builtins.match "([1-9][0-9]*)(MiB|GiB|TiB)" text;
in
  builtins.fromJSON (lib.head parts) * units.${lib.elemAt parts 1}
