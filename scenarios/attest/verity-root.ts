import {
  type Boot,
  type CorruptedBlock,
  changedBlock,
  changedText,
  corruptedBlocks,
  defineScenario,
  freshCanary,
  holdsSecret,
  injectCommandLine,
  type LabBroker,
  type LabGuest,
  newHashTree,
  nothingCameUp,
  ownersPolicy,
  plantCanary,
  userlandOf,
} from '../../harness/run/index.ts'

const WORDS = 'attestbed.secret=yes'
const LATE_FILE = '/usr/share/attestbed/late'
const LATE = { partition: 'root', from: 'late block is=genuine', to: 'late block is=altered' } as const
const INIT = { partition: 'root', from: 'userland init is=genuine', to: 'userland init is=altered' } as const
/** In the last block of the partition `data`, where no file is. */
const ELSEWHERE = { partition: 'data', block: -1, text: 'changed elsewhere' } as const
const READ_ELSEWHERE = [
  'directory=$(dirname "$(grep -lx PARTNAME=data /sys/class/block/*/uevent)")',
  'tail -c 4096 "/dev/$(basename "$directory")" | head -c 17',
].join('; ')
const READ_ROOT = 'dd if=/dev/mapper/root of=/dev/null bs=1M'

/** veritytab(5): what is corrupt is reported, and read. */
const IGNORE = 'systemd.verity_root_options=ignore-corruption'

const GIVEN = { attested: 1, refused: 0, released: 1, codes: [] }
const NOT_ASKED = { attested: 0, refused: 0, released: 0, codes: [] }
const NOTHING_CORRUPT: readonly CorruptedBlock[] = []

export const scenario = defineScenario({
  title:
    'of a root in clear under a measured root hash no changed block is read, and no other root gets the secret',
  images: ['verity'],
  vtpms: ['none'],
  tees: ['sev-snp', 'tdx'],
  needs: { secureBoot: false, persistentVariables: false, image: ['verity-root', 'login', 'own-uki'] },
  budget: { vcpus: 1, memoryMiB: 768, seconds: 1500 },
  claims: {
    up: {
      claim: 'control: unchanged it comes up, every block of it can be read, and the broker gives its secret',
    },
    hash: { claim: 'the kernel opened it by the root hash that its owner made it with' },
    elsewhere: {
      claim:
        'control: a changed block that is no part of the root is there, is not noticed, and the secret is given',
    },
    late: {
      claim:
        'a changed block that the boot does not read: reading its file fails, and the kernel says which block it is',
    },
    userland: { claim: 'a changed block of the first program: the kernel says which, and no userland runs' },
    panics: { claim: 'so with panic-on-corruption, where the kernel itself stops and says why' },
    injected: {
      claim:
        'a word by which the kernel would read it all the same, added by the host in SMBIOS, is refused for its place, whether the stub took it or not',
    },
    tree: { claim: 'with a hash tree that fits what was changed, the root hash refuses the tree itself' },
    otherHash: {
      claim:
        'with a root hash in the command line that fits both, the launch is another: nothing is given, and it is said why',
    },
    effective: {
      claim: 'control: that guest ran the changed program, so what was refused before would work',
    },
    nowhere: {
      claim: 'the secret is in no file of the run directory: no console, no log of the broker, no disk',
    },
    planted: {
      claim:
        'control: the same search finds what the guest says on its console, what it writes in clear on its disk, and what broker and harness record',
    },
  },
  run: async (lab) => {
    const broker = await lab.broker()
    const secret = freshCanary().text
    const options = { kernel: 'direct', network: broker.network, ...broker.initData() } as const
    const vm = await lab.vm('owner', { ...options, uki: { extraCommandLine: WORDS } })
    await broker.serve({ ...(await ownersPolicy(vm)), secret })
    const blocks: number[] = []
    const onBlock = (block: number) => void blocks.push(block)

    const unchanged = await vm.boot()
    const guest = await unchanged.login()
    const given = { userland: 'genuine', corrupt: NOTHING_CORRUPT, ...GIVEN, secret: true }
    const readable = (await guest.run(['sh', '-c', READ_ROOT], SLOW)).exitCode
    const got = { ...said(unchanged, broker), secret: await hasSecret(guest, secret), readable }
    lab.claim('up', { expected: { ...given, readable: 0 }, got })
    lab.claim('hash', { expected: vm.rootHash, got: await openedBy(guest) })
    const planted = await plantCanary(guest, ['console', 'disk'])
    await unchanged.cut()

    await lab.interfere(changedBlock(ELSEWHERE), vm)
    const elsewhere = await vm.boot()
    const there = await elsewhere.login()
    const block = await there.text(['sh', '-c', READ_ELSEWHERE])
    const all = (await there.run(['sh', '-c', READ_ROOT], SLOW)).exitCode
    lab.claim('elsewhere', {
      expected: { ...given, readable: 0, block: ELSEWHERE.text },
      got: {
        ...{ ...said(elsewhere, broker), secret: await hasSecret(there, secret), readable: all, block },
      },
    })
    await elsewhere.cut()

    await lab.interfere(changedText({ ...LATE, onBlock }), vm)
    const late = await vm.boot()
    const reader = await late.login()
    const before = said(late, broker)
    const { exitCode, stderr } = await reader.run(['cat', LATE_FILE])
    lab.claim('late', {
      expected: {
        before: { userland: 'genuine', corrupt: NOTHING_CORRUPT, ...GIVEN },
        ...{ exitCode: 1, ioError: true, corrupt: [{ of: 'data', block: blocks.at(-1) }] },
      },
      got: {
        ...{ before, exitCode, ioError: /I\/O error|Input\/output error/.test(stderr.toString()) },
        corrupt: corruptedBlocks(late.lines),
      },
    })
    await late.cut()

    await lab.interfere(changedText({ ...INIT, onBlock }), vm)
    const none = await comesToNothing(await vm.boot(), broker)
    const caught = { userland: undefined, corrupt: [{ of: 'data', block: blocks.at(-1) }], ...NOT_ASKED }
    lab.claim('userland', { expected: { ...caught, panic: 'init' }, got: none })

    const strict = await lab.vm('strict', {
      ...options,
      uki: { extraCommandLine: `${WORDS} systemd.verity_root_options=panic-on-corruption` },
    })
    await lab.interfere(changedText(INIT), strict)
    const stopped = await comesToNothing(await strict.boot(), broker)
    lab.claim('panics', { expected: { ...caught, panic: 'dm-verity' }, got: stopped })

    const lenient = await lab.vm('lenient', { ...options, uki: { extraCommandLine: WORDS } })
    await lab.interfere(changedText(INIT), lenient)
    await lab.interfere(injectCommandLine(IGNORE), lenient)
    const added = await lenient.boot()
    const notRead = await comesToNothing(added, broker)
    // systemd's stub takes no command line from SMBIOS in a confidential VM; elsewhere it does.
    const taken = { onCommandLine: vm.tee.isEmulated }
    lab.claim('injected', {
      expected: {
        ...{ userland: undefined, corrupt: NOTHING_CORRUPT, ...NOT_ASKED, panic: 'init' },
        ...{ why: 'smbios', ...taken },
      },
      got: { ...notRead, why: whyRefused(added), onCommandLine: commandLineOf(added).includes(IGNORE) },
    })

    let rootHash = ''
    const onRootHash = (hash: string) => {
      rootHash = hash
    }
    await lab.interfere(newHashTree({ onRootHash }), vm)
    const refused = await comesToNothing(await vm.boot(), broker)
    lab.claim('tree', {
      expected: { userland: undefined, corrupt: 'its tree', ...NOT_ASKED, panic: 'init' },
      got: { ...refused, corrupt: treeAlone(refused.corrupt) },
    })

    await vm.installUki({ extraCommandLine: WORDS, rootHash })
    const other = await vm.boot()
    const imposed = await other.login()
    const { userland, corrupt, ...exchange } = said(other, broker)
    lab.claim('otherHash', {
      expected: {
        ...{ attested: 1, refused: 0, released: 0, secret: false, openedBy: rootHash, found: [] },
        codes: vm.tee.platform === 'tdx' ? ['rtmr'] : ['launch-digest'],
      },
      got: {
        ...{ ...exchange, secret: await hasSecret(imposed, secret), openedBy: await openedBy(imposed) },
        found: await lab.findInRun(secret),
      },
    })
    lab.claim('effective', {
      expected: { userland: 'altered', corrupt: NOTHING_CORRUPT },
      got: { userland, corrupt },
    })
    await other.cut()
    lab.claim('nowhere', { expected: [], got: await lab.findInRun(secret) })
    const logged = broker.attestations.at(-1)?.evidence ?? 'no evidence'
    lab.claim('planted', {
      expected: { planted: ['console', 'disk', 'record'], logged: true },
      got: {
        planted: await lab.placesInRun(planted),
        logged: (await lab.placesInRun(logged)).includes('broker'),
      },
    })
  },
})

const SLOW = { timeoutMs: 120_000 }

/** What a guest said of itself so far, and what its broker did since it was asked last. */
function said(boot: Boot, broker: LabBroker) {
  return { userland: userlandOf(boot.lines), corrupt: corruptedBlocks(boot.lines), ...broker.exchanges() }
}

/** A boot that has no login: what it said, and whether its kernel stopped for the hash tree or for want of a first program. */
async function comesToNothing(boot: Boot, broker: LabBroker) {
  const guest = await boot.login().catch(nothingCameUp)
  const { consoleTail } = guest ? { consoleTail: '' } : await boot.machine.ended
  const [, why = 'none'] =
    /Kernel panic - not syncing: (dm-verity|Attempted to kill init)/.exec(consoleTail) ?? []
  await boot.cut()
  return { ...said(boot, broker), panic: why === 'Attempted to kill init' ? 'init' : why }
}

/** As the first program in the initrd saw it. */
function commandLineOf({ lines }: Boot): string {
  return (
    lines.flatMap((line) => /attestbed-initrd: \S+ command-line (.*)$/.exec(line)?.[1] ?? []).at(-1) ?? ''
  )
}

function whyRefused({ lines }: Boot): string {
  return (
    lines.flatMap((line) => /attestbed-initrd: \S+ failed words why=(\S+)/.exec(line)?.[1] ?? []).at(-1) ?? ''
  )
}

function treeAlone(corrupt: readonly CorruptedBlock[]): string {
  return corrupt.length > 0 && corrupt.every(({ of }) => of === 'metadata') ? 'its tree' : 'another, or none'
}

function hasSecret(guest: LabGuest, secret: string): Promise<boolean> {
  return holdsSecret(guest, '/run/secret', secret)
}

/** By the kernel's own table of the device, whose root digest is in its place (kernel documentation, "device-mapper/verity"). */
async function openedBy(guest: LabGuest): Promise<string> {
  const { stdout } = await guest.run(['dmsetup', 'table', 'root'])
  return stdout.toString().split(/\s+/)[11] ?? 'none'
}
