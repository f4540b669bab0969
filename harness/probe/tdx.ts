/** Facts of an Intel host: TDX in KVM, the key ids left for guests, and the service that signs quotes. */

import { dirname } from 'node:path'
import { capacityFinding } from './capacity.ts'
import { isIntel, mayHaveTdx } from './cpu.ts'
import type { QuoteSocket } from './facts.ts'
import { type FactProbe, type Finding, no, unknown, yes } from './finding.ts'
import { groupHint } from './kvm.ts'
import { lookAtParameter } from './module-parameter.ts'
import type { Sources } from './sources.ts'

const SOCKET = '/var/run/tdx-qgs/qgs.socket'
const CONFIG = '/etc/qgs.conf'
/** QEMU reaches the service on its own host. */
const HOST_CID = '2'

const PARAMETER_HINT =
  'Needs Linux 6.16 or later, kvm_intel.tdx=1 on the kernel command line, and TDX enabled in the firmware setup'
const QGS_HINT =
  'Without it guests boot but get no quotes: install and start qgsd (Intel DCAP), with port = 0 in /etc/qgs.conf'

export const tdxProbes: readonly FactProbe[] = [
  {
    id: 'kvm-intel-tdx',
    look: (sources) =>
      lookAtParameter(sources, {
        module: 'kvm_intel',
        parameter: 'tdx',
        hint: PARAMETER_HINT,
        forCpu: mayHaveTdx,
      }),
  },
  {
    id: 'tdx-key-ids',
    look: (sources) =>
      capacityFinding(
        sources,
        'tdx',
        "Raise the firmware setup's number of key ids for TDX (TME-MT/TDX key split)",
      ),
  },
  { id: 'tdx-quote-socket', look: async (sources) => (await quoteSocket(sources)).finding },
]

/** Where quotes come from; the socket is undefined where there is none. */
export async function quoteSocket(
  sources: Sources,
): Promise<{ readonly finding: Finding; readonly socket?: QuoteSocket }> {
  const { host } = sources
  const attempt = await host.tryConnect(SOCKET)
  if (attempt === 'ok')
    return { finding: yes(`connected to ${SOCKET}`), socket: { type: 'unix', path: SOCKET } }
  const config = await host.readText(CONFIG)
  const port = /^\s*port\s*=\s*(\d+)/m.exec(config ?? '')?.[1]
  if (attempt === 'ENOENT' && port !== undefined && port !== '0') {
    const hint = 'A vsock listener cannot be seen from outside: check with `systemctl status qgsd`'
    return {
      finding: unknown(`${CONFIG} says port = ${port} (vsock); no ${SOCKET}`, hint),
      socket: { type: 'vsock', cid: HOST_CID, port },
    }
  }
  return { finding: no(`connecting to ${SOCKET}: ${attempt}`, await missingHint(sources, attempt)) }
}

async function missingHint(sources: Sources, attempt: string): Promise<string> {
  if (!isIntel(await sources.cpu())) return ''
  if (attempt === 'EACCES') return groupHint(sources, dirname(SOCKET))
  if (attempt === 'ECONNREFUSED') return 'Nobody listens there: systemctl restart qgsd'
  const parameter = await sources.host.readText('/sys/module/kvm_intel/parameters/tdx')
  return parameter?.trim() === 'Y' ? QGS_HINT : ''
}
