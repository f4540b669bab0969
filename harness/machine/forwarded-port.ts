/** Which port of the host QEMU forwards to a guest's service: it chose a free one itself. */
import { LaunchError } from '../base/errors.ts'
import { GUEST_ADDRESS } from './argv.ts'
import type { QmpClient } from './qmp/client.ts'

/**
 * By QEMU's table of its user network, which only its monitor for people has. Throws LaunchError `qmp-command` where it has
 * no such line, and what `execute` throws.
 */
export async function forwardedPort(qmp: Pick<QmpClient, 'execute'>, servicePort: number): Promise<number> {
  const table = String(await qmp.execute('human-monitor-command', { 'command-line': 'info usernet' }))
  for (const line of table.split(/\r?\n/)) {
    const [state, , address, port, inside, at] = line.trim().split(/\s+/)
    const isForward = state === 'TCP[HOST_FORWARD]' && address === '127.0.0.1'
    if (isForward && inside === GUEST_ADDRESS && at === String(servicePort)) return Number(port)
  }
  throw new LaunchError(`QEMU forwards no port to the guest's port ${servicePort}`, { code: 'qmp-command' })
}
