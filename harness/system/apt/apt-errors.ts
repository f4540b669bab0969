/** What apt, dpkg-deb, tar and npm print when something is wrong, as one HostError each. */

import { HostError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'

interface Symptom {
  readonly pattern: RegExp
  readonly code: 'disk-full' | 'no-network' | 'mirror-dead' | 'setup-failed'
  readonly reason: string
  readonly hint: string
}

const CHECK_NETWORK = 'Check the network connection and the proxy settings, then run scripts/setup again'
const CHECK_MIRROR =
  'Set ATTESTBED_MIRROR to the URI of a Debian archive that answers, then run scripts/setup again'

/** In order: a full disk also makes downloads fail. */
const SYMPTOMS: readonly Symptom[] = [
  {
    pattern: /No space left on device|ENOSPC|Disk quota exceeded|don't have enough free space/i,
    code: 'disk-full',
    reason: 'the disk is full',
    hint: 'Free some space, or point ATTESTBED_CACHE at a larger disk, then run scripts/setup again',
  },
  {
    pattern: /Temporary failure resolving|Network is unreachable|No route to host|EAI_AGAIN|ENETUNREACH/i,
    code: 'no-network',
    reason: 'there is no network',
    hint: CHECK_NETWORK,
  },
  {
    pattern: /Hash Sum mismatch|File has unexpected size|Mirror sync in progress/i,
    code: 'mirror-dead',
    reason: 'the mirror is being updated or a proxy changes what it sends',
    hint: 'Wait some minutes and run scripts/setup again, or set ATTESTBED_MIRROR to another Debian archive',
  },
  {
    pattern: /\b[45][0-9][0-9] {1,2}[A-Z]/,
    code: 'mirror-dead',
    reason: 'the mirror does not have what is needed',
    hint: CHECK_MIRROR,
  },
  {
    pattern: /NO_PUBKEY|couldn't be verified|is not signed|EXPKEYSIG|not verified/i,
    code: 'setup-failed',
    reason: "the archive's signature does not verify",
    hint: 'Update the package debian-archive-keyring, or check what ATTESTBED_MIRROR points to',
  },
  {
    pattern:
      /Could not resolve|Could not connect|Connection refused|Unable to connect|timed out|Connection failed/i,
    code: 'mirror-dead',
    reason: 'the mirror does not answer',
    hint: CHECK_MIRROR,
  },
  {
    pattern: /does not have a Release file|Failed to fetch|File not found/,
    code: 'mirror-dead',
    reason: 'the mirror does not have what is needed',
    hint: CHECK_MIRROR,
  },
]

const QUOTED_LINES = 3

/** `action`: `downloading packages`. The first lines that say something are quoted, escaped, without user:password. */
export function hostErrorFrom(action: string, output: string): HostError {
  const lines = output.split('\n').filter((line) => line.trim() !== '' && !/^W: Unable to read/.test(line))
  const symptom = SYMPTOMS.find(({ pattern }) => pattern.test(output))
  const telling = symptom ? lines.filter((line) => symptom.pattern.test(line)) : lines.slice(-QUOTED_LINES)
  const quoted = telling
    .slice(0, 1 + (symptom ? 0 : QUOTED_LINES))
    .map((line) => escapeControls(redact(line.trim())))
  return new HostError(`${action} failed: ${[symptom?.reason, ...quoted].filter(Boolean).join(': ')}`, {
    code: symptom?.code ?? 'setup-failed',
    hint: symptom?.hint ?? 'Run scripts/setup again; if it fails again, report these lines',
  })
}

/** Mirrors and proxies may be given with a password in the URI. */
function redact(text: string): string {
  return text.replace(/(\w+:\/\/)[^/\s@]+@/g, '$1***@')
}
