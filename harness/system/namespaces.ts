/** Which kernel setting forbids unprivileged user namespaces, and the command that allows them. */

import { readFileSync } from 'node:fs'

interface Setting {
  readonly name: string
  readonly forbids: (value: number) => boolean
  readonly allow: number
}

const SETTINGS: readonly Setting[] = [
  // Debian's and Arch's patch
  { name: 'kernel.unprivileged_userns_clone', forbids: (value) => value === 0, allow: 1 },
  // Ubuntu 23.10 and later
  { name: 'kernel.apparmor_restrict_unprivileged_userns', forbids: (value) => value !== 0, allow: 0 },
  // hardened Fedora and RHEL set-ups
  { name: 'user.max_user_namespaces', forbids: (value) => value === 0, allow: 15000 },
]

/** The exact command, to be run as root. `procSys` is /proc/sys but in tests. */
export function allowNamespacesCommand(procSys = '/proc/sys'): string {
  const forbidding = SETTINGS.filter(({ name, forbids }) => {
    const value = readNumber(`${procSys}/${name.replaceAll('.', '/')}`)
    return value !== undefined && forbids(value)
  })
  if (forbidding.length > 0) return `sysctl -w ${forbidding.map((s) => `${s.name}=${s.allow}`).join(' ')}`
  // Nothing is forbidden by sysctl: a container's seccomp profile does it.
  return 'start the container with --security-opt seccomp=unconfined (or --privileged)'
}

function readNumber(path: string): number | undefined {
  try {
    return Number(readFileSync(path, 'utf8').trim())
  } catch {
    return undefined
  }
}
