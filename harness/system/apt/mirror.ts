/**
 * Which Debian mirror to use: the one that the user names, else the one that the host itself is installed from. No
 * mirror's name is in this program.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { HostError } from '../../base/errors.ts'

export interface Mirror {
  /** `http://mirror.example/debian`; a secret in it stays in apt's private configuration. */
  readonly uri: string
  /** Keyring file that the archive's signature must be made with. */
  readonly keyring: string
}

export interface MirrorOptions {
  readonly environment: NodeJS.ProcessEnv
  /** Where the host's configuration is read from; default `/`. */
  readonly root?: string
}

/** One archive of the host's apt configuration, as far as it matters here. */
export interface ArchiveEntry {
  readonly uri: string
  readonly suites: readonly string[]
  readonly components: readonly string[]
  /** Path of a keyring; undefined when none is named or the key is inline. */
  readonly signedBy: string | undefined
}

const VARIABLE = 'ATTESTBED_MIRROR'
const DEBIAN_KEYRINGS = ['debian-archive-keyring.gpg', 'debian-archive-keyring.pgp']
const SCHEME = /^(https?|ftp|file|copy|mirror\+[a-z]+|tor\+https?):/

/** Throws HostError 'mirror-missing' when none is named and the host's configuration gives none. */
export function findMirror(options: MirrorOptions): Mirror {
  const root = options.root ?? '/'
  const named = options.environment[VARIABLE]
  if (named !== undefined && named !== '') {
    if (!SCHEME.test(named) || /\s/.test(named)) {
      throw mirrorMissing(`${VARIABLE} is '${named}', it must be the URI of a Debian archive`)
    }
    return { uri: named.replace(/\/+$/, ''), keyring: debianKeyring(root) }
  }
  const release = readRelease(root)
  if (release.id !== 'debian') {
    throw mirrorMissing(`${VARIABLE} is not set and this host is '${release.id}', not Debian`)
  }
  const entry = chooseEntry(readEntries(join(root, 'etc/apt')), release.codename)
  if (!entry) {
    throw mirrorMissing(
      `${VARIABLE} is not set and /etc/apt names no Debian archive of '${release.codename}'`,
    )
  }
  return { uri: entry.uri.replace(/\/+$/, ''), keyring: keyringOf(entry, root) }
}

export interface Release {
  /** `debian`, `ubuntu`, `fedora`...; empty if unknown. */
  readonly id: string
  readonly codename: string
}

/** From /etc/os-release. */
export function readRelease(root = '/'): Release {
  const path = join(root, 'etc/os-release')
  const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
  const field = (name: string): string => new RegExp(`^${name}=["']?([^"'\\n]*)`, 'm').exec(text)?.[1] ?? ''
  return { id: field('ID'), codename: field('VERSION_CODENAME') }
}

/**
 * The host's release itself, not its updates, security or backports. Third parties publish under Debian's code names
 * too: an entry with a key of its own is one of them.
 */
function chooseEntry(entries: readonly ArchiveEntry[], codename: string): ArchiveEntry | undefined {
  const suites = new Set([codename, 'stable', 'testing', 'unstable', 'sid', 'oldstable'])
  const rank = (entry: ArchiveEntry): number => {
    if (entry.signedBy?.includes('debian-archive')) return 0
    if (entry.signedBy !== undefined) return Number.POSITIVE_INFINITY
    if (/\/debian\/?$/.test(entry.uri)) return 1
    return entry.suites.includes(codename) ? 2 : Number.POSITIVE_INFINITY
  }
  const candidates = entries
    .filter((entry) => SCHEME.test(entry.uri) && entry.components.includes('main'))
    .filter((entry) => entry.suites.some((suite) => suites.has(suite)))
    .filter((entry) => Number.isFinite(rank(entry)))
  return candidates.sort((a, b) => rank(a) - rank(b))[0]
}

/** In apt's own order: sources.list, then sources.list.d by name. */
function readEntries(apt: string): ArchiveEntry[] {
  const parts = join(apt, 'sources.list.d')
  const names = existsSync(parts) ? readdirSync(parts).sort() : []
  const files = [join(apt, 'sources.list'), ...names.map((name) => join(parts, name))]
  return files.flatMap((file) => {
    const text = readIfPossible(file)
    if (text === undefined) return []
    if (file.endsWith('.sources')) return parseDeb822(text)
    return file.endsWith('.list') ? parseOneLine(text) : []
  })
}

export function parseOneLine(text: string): ArchiveEntry[] {
  return text.split('\n').flatMap((raw) => {
    const line = raw.replace(/#.*/, '').trim()
    const match = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)$/.exec(line)
    if (!match) return []
    const [, options = '', uri = '', suite = '', components = ''] = match
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1]
    return [{ uri, suites: [suite], components: words(components), signedBy }]
  })
}

export function parseDeb822(text: string): ArchiveEntry[] {
  const withoutComments = text.replace(/^#.*\n?/gm, '')
  return withoutComments.split(/\n\s*\n/).flatMap((stanza) => {
    const fields = parseStanza(stanza)
    const disabled = /^(no|false|0|off|without|disable)$/i.test(fields.get('enabled') ?? 'yes')
    const [uri] = words(fields.get('uris'))
    if (disabled || uri === undefined || !words(fields.get('types')).includes('deb')) return []
    const signedBy = fields.get('signed-by')
    return [
      {
        uri,
        suites: words(fields.get('suites')),
        components: words(fields.get('components')),
        // An inline key ends up here as text: no path, but a key of its own all the same.
        signedBy: signedBy === undefined ? undefined : signedBy.startsWith('/') ? signedBy : 'inline',
      },
    ]
  })
}

/** Lower-case field names; continuation lines joined by blanks. */
function parseStanza(stanza: string): Map<string, string> {
  const unfolded = stanza.replace(/\n[ \t]+/g, ' ')
  const pairs = unfolded.split('\n').map((line) => /^([A-Za-z0-9-]+):\s*(.*)$/.exec(line))
  return new Map(pairs.flatMap((m) => (m ? [[(m[1] ?? '').toLowerCase(), (m[2] ?? '').trim()]] : [])))
}

function words(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((word) => word !== '')
}

function keyringOf(entry: ArchiveEntry, root: string): string {
  if (entry.signedBy?.startsWith('/') && existsSync(join(root, entry.signedBy)))
    return join(root, entry.signedBy)
  return debianKeyring(root)
}

function debianKeyring(root: string): string {
  const keyring = DEBIAN_KEYRINGS.map((name) => join(root, 'usr/share/keyrings', name)).find(existsSync)
  if (keyring) return keyring
  throw new HostError(
    `cannot verify Debian's packages: there is no ${DEBIAN_KEYRINGS[0]} in /usr/share/keyrings`,
    {
      code: 'program-missing',
      hint: 'Install the package debian-archive-keyring (Fedora: debian-keyring)',
    },
  )
}

function readIfPossible(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function mirrorMissing(reason: string): HostError {
  return new HostError(`cannot choose a Debian mirror: ${reason}`, {
    code: 'mirror-missing',
    hint: `Set ${VARIABLE} to the URI of a Debian archive, the one that ends in /debian`,
  })
}
