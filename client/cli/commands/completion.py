"""`icehouse completion`: the scripts of shells, and the words that they ask for."""

import enum
import sys
from typing import Annotated

import typer

from icehouse.client.cli.output import guarded


class Shell(enum.StrEnum):
    """Shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


# The words up to the cursor are passed on; each line of the answer is a word, a tab and its help.
# A first line of :files lets the shell complete file names.
BASH = """\
_icehouse_complete() {
    local line words=()
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o default 2>/dev/null
            return
        fi
        words+=("${line%%$'\\t'*}")
    done < <("${COMP_WORDS[0]}" complete-words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    COMPREPLY=("${words[@]}")
}
complete -F _icehouse_complete icehouse
"""
ZSH = """\
#compdef icehouse
_icehouse() {
    local line word
    local -a found
    for line in "${(@f)$(icehouse complete-words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then
            _files
            return
        fi
        word=${${line%%$'\\t'*}//:/\\\\:}
        if [[ $line == *$'\\t'* ]]; then
            found+=("$word:${line#*$'\\t'}")
        elif [[ -n $line ]]; then
            found+=("$word")
        fi
    done
    _describe -V icehouse found
}
if [[ $funcstack[1] == _icehouse ]]; then
    _icehouse "$@"
else
    compdef _icehouse icehouse
fi
"""
FISH = """\
function __icehouse_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (icehouse complete-words -- $words[2..-1] 2>/dev/null)
    if test "$found[1]" = ":files"
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c icehouse -f -a '(__icehouse_complete)'
"""
SCRIPTS = {Shell.BASH: BASH, Shell.ZSH: ZSH, Shell.FISH: FISH}


def completion(
    *,
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the completion script of a shell; names of the daemon's objects are completed too.

    bash: icehouse completion bash > ~/.local/share/bash-completion/completions/icehouse

    zsh: icehouse completion zsh > "${fpath[1]}/_icehouse"

    fish: icehouse completion fish > ~/.config/fish/completions/icehouse.fish
    """
    with guarded():
        sys.stdout.write(SCRIPTS[shell])


def complete(
    *,
    words: Annotated[list[str] | None, typer.Argument(help="Up to the cursor.")] = None,
) -> None:
    """Print what the last of these words may become; the scripts ask this."""
    from icehouse.client.cli.completing import candidates

    with guarded():
        for word, told in candidates(words or [""]):
            print(f"{word}\t{told}" if told else word)
