# Every output of the flake, with the stub in nixpkgs' place: forced as far as
# it can be without building, and told by name.
stub: let
  flake = import ../../flake.nix;
  outputs = flake.outputs {
    # Nix gives it the place of the tracked files.
    self = outputs // {outPath = "/nix/store/00000000000000000000000000000000-source";};
    nixpkgs = stub;
  };
  forced = value: builtins.seq (builtins.deepSeq (removeAttrs value ["override" "overrideAttrs" "__toString"]) value.name) value.name;
  systems = builtins.mapAttrs (_: builtins.mapAttrs (_: forced));
in {
  packages = systems outputs.packages;
  checks = systems outputs.checks;
  devShells = systems outputs.devShells;
  formatter = builtins.mapAttrs (_: forced) outputs.formatter;
  apps = builtins.mapAttrs (_: apps: apps.default.program) outputs.apps;
  # What assertions say of the scenarios' machines.
  scenarios = builtins.mapAttrs (_: checks: let
    tests = builtins.filter (check: check ? nodes) (builtins.attrValues checks);
  in
    builtins.listToAttrs (map (test: {
        inherit (test) name;
        value = builtins.mapAttrs (_: node: node.complaints ++ builtins.concatMap (one: one.complaints) (builtins.attrValues node.specialisations)) test.nodes;
      })
      tests))
  outputs.checks;
  overlay = (outputs.overlays.default stub.legacyPackages.x86_64-linux {}).walkeep.name;
  # A host that imports the flake's module has the flake's package.
  module = (stub.nixos "x86_64-linux" [outputs.nixosModules.default ./example.nix]).config.services.walkeep.package.name;
  inherit (flake) inputs;
  lock = builtins.fromJSON (builtins.readFile ../../flake.lock);
}
