/**
 * The guest's half of `guest.run`: a POSIX shell script that reads one request a line from the console and answers
 * with lines framed by a marker. Its only helpers are base64, sed and sha256sum.
 *
 * A request is words of letters, digits, `+ / = , ;` and nothing is evaluated but a script whose SHA-256 the request
 * names, so a damaged line does no harm:
 *
 * | request | answer |
 * | --- | --- |
 * | `k NONCE` | begins a command; `M K`. The marker M is the first 32 hex digits of SHA-256(NONCE): it was never typed |
 * | `w N TEXT` | takes piece N of an upload, counted from 0; no answer |
 * | `a` | `M A N`: N pieces have come |
 * | `i SHA` | makes the upload the command's standard input; `M I SHA`, with the digest of what came |
 * | `x SHA` | runs the upload as a script: `M X`, and at its end `M S ...`, three times; asked again, the end only |
 * | `f o RANGES`, `f e RANGES` | numbered lines of standard output or error as base64, by sed's line ranges; `M F` |
 * | `q` | forgets the outputs; `M Q` |
 *
 * `M S EXIT OLINES OSHA ELINES ESHA`: the exit code, then for both outputs the number of lines and the SHA-256 of
 * their base64 text, `0 -` for none.
 */

/** Longest line that is typed, with its line feed: far from the 4096 of a terminal, below the 1024 of busybox. */
export const LONGEST_LINE = 900
/** Base64 characters of a full line of output. */
export const OUTPUT_LINE = 304

// `unset`, so that none of them is exported to what runs. The agent itself ignores Ctrl-C (after a trap, the `read` of
// busybox 1.38 spins for good); what runs does not. Twenty failed reads in a row are a hang-up.
const AGENT = `
unset m d h t c s z in v a b f bad
trap '' INT QUIT
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
for b in "\${ATTESTBED_DIR:-/run}" /tmp /dev/shm /var/tmp "$HOME" /; do
d=$b/.attestbed-$1
mkdir -m 700 "$d" 2>/dev/null && break
done
say() { printf '\\n%s %s .\\n' "$m" "$*"; }
sum() { sha256sum | sed 's/[^0-9a-f].*//'; }
pack() {
t='0 -'
[ -s "$d/$1" ] || return
base64 <"$d/$1" | sed '$!N;$!N;$!N;s/\\n//g' >"$d/$2"
t="$(sed -n '$=' "$d/$2") $(sum <"$d/$2")"
}
clear() { for f in u i O E o e; do : >"$d/$f"; done; }
bad=0
while [ $bad -lt 20 ]; do
if read -r v a b; then bad=0; else bad=$((bad+1)); continue; fi
case $v in
k) m=$(printf %s "$a" | sum | sed 's/^\\(.\\{32\\}\\).*/\\1/'); s=0; z=; in=/dev/null; clear; say K;;
w) [ "$a" = "$s" ] && printf '%s\\n' "$b" >>"$d/u" && s=$((s+1));;
a) say A $s;;
i) base64 -d <"$d/u" >"$d/i" 2>/dev/null; h=$(sum <"$d/i"); [ "$h" = "$a" ] && in=$d/i
: >"$d/u"; s=0; say I $h;;
x) if [ -z "$z" ]; then
c=$(base64 -d <"$d/u" 2>/dev/null); h=$(printf %s "$c" | sum)
if [ "$h" = "$a" ]; then
say X
(trap - INT QUIT; eval "$c") <$in >"$d/O" 2>"$d/E"
z=$?
pack O o; z="$z $t"; pack E e; z="$z $t"
else : >"$d/u"; s=0; say R $h; fi
fi
[ -z "$z" ] || { say S $z; say S $z; say S $z; };;
f) sed = "$d/$a" | sed "N;s/\\n/ /;s/^/$m $a /;s/$/ ./" | sed -n "$b"; say F $a;;
q) clear; say Q;;
esac
done
`

/** The agent's script; $1 is a name for its directory, which lies in $ATTESTBED_DIR or the first place it can. */
export const AGENT_SCRIPT = AGENT.trim()
