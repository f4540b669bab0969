import { type ChildProcess, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { sha256Hex } from '../base/digest.ts'
import { authenticodeDigest } from '../formats/authenticode.ts'
import { compressedFirmware } from '../formats/testing/firmware-volume.ts'
import { syntheticPe } from '../formats/testing/pe-file.ts'
import { syntheticOvmf } from '../formats/testing/synthetic-ovmf.ts'
import { variableFlash } from '../formats/testing/variable-flash.ts'
import { parseIdBlock } from '../measure/id-block/id-block.ts'
import { cpuSignature } from '../measure/sev/cpu-models.ts'
import { kernelHashes } from '../measure/sev/kernel-hashes.ts'
import { snpFirmware } from '../measure/snp/firmware.ts'
import { predictSnp } from '../measure/snp/launch.ts'
import { predictMrtd } from '../measure/tdx/mrtd.ts'
import { diff } from './diff.ts'
import { predictSevFamily } from './predict-sev.ts'
import { predictTdx } from './predict-tdx.ts'

const MAIN = join(import.meta.dirname, 'main.ts')
const COMPILE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/attestbed/node')

const directory = mkdtempSync(join(tmpdir(), 'attestbed-predict-'))
t.teardown(() => rmSync(directory, { recursive: true }))
const at = (name: string, content: string | Uint8Array): string => {
  const path = join(directory, name)
  writeFileSync(path, content)
  return path
}
const rom = syntheticOvmf()
const firmware = at('OVMF.fd', rom)
/** QEMU takes it; no firmware starts it. */
const KERNEL = Buffer.alloc(4096, 0)
const kernel = at('kernel', KERNEL)
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const idKey = at('id.pem', privateKey.export({ type: 'sec1', format: 'pem' }))

const predict = (...args: readonly string[]) => cli('predict', ...args)

async function cli(...args: readonly string[]) {
  const child: ChildProcess = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, NO_COLOR: '1', NODE_COMPILE_CACHE: COMPILE_CACHE },
  })
  const output = { stdout: '', stderr: '' }
  child.stdout?.on('data', (chunk: Buffer) => (output.stdout += chunk))
  child.stderr?.on('data', (chunk: Buffer) => (output.stderr += chunk))
  const [code] = await once(child, 'close')
  return { code, ...output }
}

t.test('predict sev-snp --json gives the launch digest, what it is of, and a signed ID block', async (t) => {
  const flags = ['--vcpus', '3', '--cpu', 'EPYC-Milan', '--kernel', kernel, '--append', 'quiet']
  const id = ['--id-key', idKey, '--policy', '0x30000', '--guest-svn', '2']
  const { code, stdout, stderr } = await predict('sev-snp', '--firmware', firmware, ...flags, ...id, '--json')
  t.equal(code, 0)
  t.match(stderr, /no PE file/)
  const document = JSON.parse(stdout)
  const { launchDigest } = predictSnp(snpFirmware(rom), {
    vcpus: 3,
    cpu: cpuSignature('EPYC-Milan'),
    kernel: kernelHashes({ kernel: KERNEL, append: 'quiet' }),
  })
  t.equal(document.launchDigest, launchDigest.toString('hex'))
  t.match(document.inputs, { vcpus: '3', cpu: 'EPYC-Milan', append: 'quiet', firmware: sha256Hex(rom) })
  t.match(document.pages.at(0), { gpa: '0xfff00000', size: 0x100000, type: 'normal', sha256: sha256Hex(rom) })
  t.match(document.pages.at(-1), { type: 'vmsa', count: 2, registers: { rdx: '0xa00f11' } })
  t.match(parseIdBlock(Buffer.from(document.idBlock, 'base64')), {
    launchDigest,
    guestSvn: 2,
    policy: 0x30000n,
  })
})

t.test('predict tdx prints MRTD; two passes are another', async (t) => {
  const [single, two] = await Promise.all([
    predict('tdx', '--firmware', firmware, '--memory', '2G'),
    predict('tdx', '--firmware', firmware, '--two-pass'),
  ])
  t.match(single, { code: 0, stderr: '', stdout: `mrtd ${predictMrtd(rom).mrtd.toString('hex')}\n` })
  t.match(single.stdout, /^rtmr0 not known\n +because what boots is not given\n +[0-9a-f]{16} .* TD HOB/m)
  t.match(two, { code: 0, stdout: `mrtd ${predictMrtd(rom, 'two').mrtd.toString('hex')}\n` })
})

t.test(
  'predict tdx --json has the registers as far as they are known, and what they come from',
  async (t) => {
    const document = async (...flags: readonly string[]) =>
      JSON.parse((await predict('tdx', '--firmware', firmware, ...flags, '--json')).stdout)
    const [alone, memory] = await Promise.all([document(), document('--memory', '2G')])
    t.strictSame(alone.rtmr, [])
    t.strictSame(memory.rtmr, [])
    t.match(memory, {
      inputs: { memory: String(2 ** 31) },
      events: [{ register: 'rtmr0', digests: { sha384: /./ } }],
    })
  },
)

t.test('predict sev is the SHA-256 of the file', async (t) => {
  t.match(await predict('sev', '--firmware', firmware, '--vcpus', '4', '--cpu', 'EPYC-v4'), {
    stdout: `launchDigest ${sha256Hex(rom)}\n`,
  })
  t.match(await predict('sev', '--firmware', firmware), {
    code: 0,
    stdout: `launchDigest ${sha256Hex(rom)}\n`,
  })
})

t.test('what is wrong is named, with exit code 2 for flags and 5 for files', async (t) => {
  const cut = at('cut.fd', rom.subarray(0, rom.length - 0x1000))
  const [usage, format] = await Promise.all([
    predict('sev-snp', '--firmware', firmware, '--cpu', 'EPYC-v99'),
    predict('sev-snp', '--firmware', cut),
  ])
  t.match(usage, { code: 2, stdout: '', stderr: /CPU model "EPYC-v99".*\nhint: .*EPYC-Milan/ })
  t.match(format, { code: 5, stdout: '', stderr: /FormatError \[bad-magic\].* at 0x[0-9a-f]+: footer GUID/ })
})

t.test('diff: exit code 1 and words where two predictions differ, 0 where they do not', async (t) => {
  const predicted = async (name: string, cpu: string): Promise<string> =>
    at(name, (await predict('sev-snp', '--firmware', firmware, '--cpu', cpu, '--json')).stdout)
  const [a, b] = await Promise.all([predicted('a.json', 'EPYC-v4'), predicted('b.json', 'EPYC-Genoa')])
  const [words, json, same] = await Promise.all([
    cli('diff', a, b),
    cli('diff', a, b, '--json'),
    cli('diff', a, a),
  ])
  t.match(words, {
    code: 1,
    stdout: /^CPU model: EPYC-v4 to EPYC-Genoa\nVMSA of vCPU 0: rdx .* \(from CPU model\)\n/,
  })
  t.equal(json.code, 1)
  t.match(JSON.parse(json.stdout), { equal: false, differences: [{ where: 'input cpu', causes: ['cpu'] }] })
  t.match(same, { code: 0, stdout: 'nothing differs\n' })
  const note = at('note', 'a note')
  await t.rejects(diff(a, note, {}), { name: 'FormatError', message: note }, 'neither JSON nor a log')
  const broken = at('broken.json', '{"mrtd":')
  await t.rejects(diff(a, broken, {}), { name: 'UsageError', message: broken })
})

t.test('every flag is checked before anything is predicted', async (t) => {
  const cutKernel = at('cut.efi', 'MZ')
  const wrong = [
    [{ cpu: 'host' }, /its signature is the host's/],
    [{ vcpus: '0' }, /0 vCPUs: 1 to 4096/],
    [{ vcpus: '1e3' }, /--vcpus/],
    [{ guestFeatures: '0x20' }, /bit 0/],
    [{ append: 'quiet' }, /--kernel/],
    [{ idKey }, /--policy/],
    [{ idKey: kernel, policy: '0x30000' }, /no private key in PEM/],
    [{ policy: '0x30000' }, /--id-key/],
    [{ idKey, policy: '0x30000', familyId: 'ab' }, /--family-id.*16 bytes/],
    [{ firmwareDigest: 'ab' }, /48 bytes/],
    [{ firmware: join(directory, 'absent') }, /no such file/],
    [{ firmware: directory }, /not a file/],
    [{ kernel: cutKernel }, /cannot parse PE file/],
    [{ kernel: at('note', 'a note') }, /cannot parse kernel at 0x1f1: setup_sects/],
    [
      { kernel: at('large-setup', Buffer.alloc(4096, 9)) },
      /at 0x1f1: setup_sects asks for 5120 bytes .* has 4096; it is no PE/,
    ],
    [{ kernel: at('vmlinux', Buffer.from(`\x7fELF${'\0'.repeat(4096)}`)) }, /at 0x0: magic is that of ELF/],
    [{ kernel: at('empty', '') }, /cannot parse kernel at 0x1f1: .* has 0/],
    [{ guestFeatures: 'debugswap' }, /has "debugswap"; there are debug-swap \(0x20\)/],
  ] as const
  for (const [flags, message] of wrong)
    await t.rejects(predictSevFamily('sev-snp', { firmware, ...flags }), { message })
  const stray = [
    [{ append: 'quiet' }, /need --kernel/],
    [{ uki: kernel, initrd: kernel }, /need --kernel/],
    [{ uki: kernel, kernel }, /only one/],
    [{ disk: kernel }, /--disk needs what boots/],
    [{ bootSlot: ['1'] }, /--boot-slot needs what boots/],
  ] as const
  for (const [flags, message] of stray)
    await t.rejects(predictTdx({ firmware, ...flags }), { name: 'UsageError', message })
  for (const memory of ['2.5G', '0', '1P', '', '99999999999G'])
    await t.rejects(predictTdx({ firmware, memory }), { name: 'UsageError', message: /512M or 2G/ }, memory)
})

// --- PCRs ---

const uki = syntheticPe({ sections: [{ name: '.linux', content: Buffer.from('kernel') }] })
const boot = [
  ...['--uki', at('lab.efi', uki), '--firmware', at('CODE.fd', compressedFirmware())],
  ...['--vars', at('VARS.fd', variableFlash([]))],
]

t.test('predict tpm --json gives the known registers by bank, and why the others are not', async (t) => {
  const { code, stdout } = await predict(
    'tpm',
    ...boot,
    '--bank',
    'sha256,sha1',
    '--phase',
    'enter-initrd',
    '--json',
  )
  t.equal(code, 0)
  const document = JSON.parse(stdout)
  t.strictSame(Object.keys(document.pcrs), ['sha256', 'sha1'])
  t.strictSame(Object.keys(document.pcrs.sha256), [
    '2',
    '3',
    '4',
    '6',
    '7',
    '8',
    '11',
    '12',
    '13',
    '14',
    '15',
  ])
  t.match(
    document.unknown.map((each: { register: string }) => each.register),
    ['pcr0', 'pcr1', 'pcr5', 'pcr9', 'pcr10'],
  )
  t.equal(document.pcrs.sha256['2'], '3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969')
  const image = document.events.find(
    ({ type }: { type: string }) => type === 'EV_EFI_BOOT_SERVICES_APPLICATION',
  )
  t.equal(image.digests.sha256, authenticodeDigest(uki, 'sha256').toString('hex'))
  t.equal(document.inputs.uki, sha256Hex(uki))
  t.equal(document.inputs.phases, 'enter-initrd')
})

t.test('diff names the input that an event of predict tpm came from', async (t) => {
  const [a, b] = await Promise.all(
    ['quiet', 'loud'].map(async (line) =>
      at(`${line}.json`, (await predict('tpm', ...boot, '--load-options', line, '--json')).stdout),
    ),
  )
  const { stdout } = await cli('diff', a ?? '', b ?? '')
  t.match(stdout, /^command line of the boot entry: quiet to loud\n/)
  t.match(stdout, /^pcr12 event 0: .*"quiet" against .*"loud" \(from command line of the boot entry\)$/m)
})

t.test(
  'predict tpm takes what stands between firmware and UKI, and refuses what is not predicted',
  async (t) => {
    const loader = ['--loader', at('systemd-boot.efi', syntheticPe({ sections: [] }))]
    const predicted = async (line: string) => {
      const flags = [...loader, '--loader-conf', at('loader.conf', line)]
      return at(`${line.trim()}.json`, (await predict('tpm', ...boot, ...flags, '--json')).stdout)
    }
    const [a, b] = [await predicted('timeout 0\n'), await predicted('timeout 30\n')]
    t.match(
      (await cli('diff', a, b)).stdout,
      /^pcr5 event 2: .*loader[.]conf, 10 bytes against .* \(from loader[.]conf\)$/m,
    )
    const wrong = [
      [['--loader-conf', firmware], /--loader-conf needs --loader/],
      [[...loader, '--shim', firmware], /only one can be given/],
      [[...loader, '--load-options', 'x'], /passes no command line to a UKI/],
      [['--shim', firmware, '--addon', firmware], /predicted without addons/],
      [['--shim', at('shim.efi', uki)], /it has no section [.]vendor_cert/],
    ] as const
    const ended = await Promise.all(wrong.map(([flags]) => predict('tpm', ...boot, ...flags)))
    for (const [index, [, stderr]] of wrong.entries()) t.match(ended[index], { stdout: '', stderr })
  },
)

t.test(
  'predict tpm shows each register with its events, and the reason of what it does not know',
  async (t) => {
    const { code, stdout } = await predict('tpm', ...boot)
    t.equal(code, 0)
    t.match(stdout, /^pcr5 +sha256 not known\n +because the disk that is booted from is not given\n/m)
    t.match(stdout, /^pcr4 +sha256 [0-9a-f]{64}\n +3d6772b4f84ed475 EV_EFI_ACTION/m)
  },
)

t.test('predict tpm refuses files that are not what they should be, by field and offset', async (t) => {
  const wrong = await predict('tpm', ...boot.slice(2), '--uki', at('text', 'no PE at all'))
  t.equal(wrong.code, 5)
  t.match(wrong.stderr, /FormatError \[bad-magic\]: cannot parse PE file at 0x0: e_magic/)
  t.equal((await predict('tpm', ...boot, '--boot-slot', '99')).code, 2)
  t.equal((await predict('tpm', ...boot, '--memory', '2X')).code, 2)
  t.equal((await predict('tpm', ...boot.slice(0, 4))).code, 2)
})
