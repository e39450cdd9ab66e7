"""`redisqueue completion`: a script that lets TAB complete the words of `redisqueue` in a shell.

bash: `source <(redisqueue completion bash)` in ~/.bashrc. zsh: the same with `zsh` in ~/.zshrc, behind
`compinit`. fish: `redisqueue completion fish >~/.config/fish/completions/redisqueue.fish`.
`kubectl redisqueue TAB` needs the completion of kubectl itself alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from redisqueue_operator.cli.options import Subcommands

BASH = r"""# redisqueue completion bash
_redisqueue() {
  local line=${COMP_LINE:0:COMP_POINT} words=() kept="" output candidate
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  local current=${words[${#words[@]} - 1]}
  # bash puts a candidate in the place of what stands behind the last of these alone.
  [[ $current == *[:=]* ]] && kept=${current%"${current##*[:=]}"}
  COMPREPLY=()
  output=$(command "${words[0]}" __complete "${words[@]:1}" 2>/dev/null) || return
  [[ ${output##*$'\n'} == ":0" ]] && compopt -o default 2>/dev/null
  [[ $output == *$'\n'* ]] || return
  while IFS=$'\t' read -r candidate _; do
    printf -v candidate %q "${candidate#"$kept"}"
    COMPREPLY+=("$candidate")
  done <<<"${output%$'\n'*}"
}
complete -F _redisqueue redisqueue kubectl-redisqueue
"""
ZSH = r"""#compdef redisqueue kubectl-redisqueue
_redisqueue() {
  local output line
  local -a lines candidates
  output=$(command "${words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null) || return 1
  lines=("${(@f)output}")
  for line in "${(@)lines[1,-2]}"; do
    candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done
  (( $#candidates )) && _describe redisqueue candidates
  [[ $lines[-1] == ":0" ]] && _files
}
if [[ $funcstack[1] == _redisqueue ]]; then
  _redisqueue "$@"
else
  compdef _redisqueue redisqueue kubectl-redisqueue
fi
"""
FISH = r"""# redisqueue completion fish
function __redisqueue_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l output (command $words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    or return
    test (count $output) -gt 1
    and printf '%s\n' $output[1..-2]
    test "$output[-1]" = ":0"
    and __fish_complete_path "$current"
end
complete -c redisqueue -f -a '(__redisqueue_complete)'
complete -c kubectl-redisqueue -f -a '(__redisqueue_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("completion", description=__doc__)
    parser.add_argument("shell", choices=SCRIPTS, metavar="SHELL", help=", ".join(SCRIPTS))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    print(SCRIPTS[options.shell], end="")
    return 0
