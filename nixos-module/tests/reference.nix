# docs/NIXOS-OPTIONS.md: the options, read off the module.
{
  lib,
  nixos,
  module ? ../.,
}: let
  inherit (nixos [module]) options;

  shown = value:
    if value._type or null == "literalExpression"
    then value.text
    else inNix "" value;

  # A value as one writes it in Nix.
  inNix = indent: value: let
    deeper = indent + "  ";
  in
    if builtins.isAttrs value && value == {}
    then "{ }"
    else if builtins.isAttrs value
    then "{\n${lib.concatStringsSep "" (lib.mapAttrsToList (name: one: "${deeper}${name} = ${inNix deeper one};\n") value)}${indent}}"
    else if builtins.isList value
    then "[ ${lib.concatMapStringsSep " " (inNix indent) value} ]"
    else builtins.toJSON value;

  one = path: option: ''

    ## `${lib.concatStringsSep "." path}`

    ${lib.concatStringsSep " " (lib.splitString "\n" option.description)}

    - type: ${option.type.description}
    ${
      if option ? defaultText || option ? default
      then "- default: `${lib.concatStringsSep " " (lib.splitString "\n" (shown (option.defaultText or option.default)))}`\n"
      else "- without a default: it has to be set\n"
    }${lib.optionalString (option ? example) "\n```nix\n${lib.concatStringsSep "." (lib.filter (part: part != "<name>") [(lib.elemAt path (lib.length path - 1))])} = ${shown option.example};\n```\n"}'';

  walk = path: tree:
    lib.concatStringsSep "" (lib.mapAttrsToList (name: option: let
      here = path ++ [name];
    in
      if name == "_module"
      then ""
      else if lib.isOption option
      then
        one here option
        + (
          if option.type ? getSubOptions
          then walk here (option.type.getSubOptions here)
          else ""
        )
      else walk here option)
    tree);
in ''
  # Options of the NixOS module

  Made of the module by `make nix-reference`; `cargo test --test nix` compares. How they are used is in [NIXOS.md](NIXOS.md). In Nix, `<name>` is a name of yours.
  ${walk ["services" "walkeep"] options.services.walkeep}''
