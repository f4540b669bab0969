/**
 * The root file system of an image, made from extracted packages: what their maintainer scripts would have done
 * is done here, since those need root and a running system.
 */
import { cp, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import { MaterialError } from '../base/errors.ts'
import { sha256File } from '../system/files.ts'
import type { Tools } from '../system/tools.ts'
import { contentKey, type MaterialContext } from './context.ts'
import { sha256OfTree } from './file-digest.ts'
import type { PackageTree } from './guest-packages.ts'
import type { Kernel } from './kernel.ts'
import type { Recipe } from './recipe.ts'

/** Bump when a step below changes. */
const FORMAT = 2
const PACKAGED_UNITS = 'usr/lib/systemd/system'

export interface GuestTree {
  readonly tree: string
  /** Identifies everything the tree was made from. */
  readonly key: string
}

type RootRecipe = NonNullable<Recipe['root']>

export async function ensureGuestTree(
  context: MaterialContext,
  {
    recipe,
    root,
    packages,
    kernel,
  }: { recipe: Recipe; root: RootRecipe; packages: PackageTree; kernel: Kernel },
): Promise<GuestTree> {
  const overlay = join(recipe.directory, 'root')
  const inputs = {
    format: FORMAT,
    packages: packages.digest,
    kernel: kernel.digest,
    tools: context.tools.digest,
  }
  const { shared, ...plainRoot } = root
  const sharedPaths = Object.entries(shared).map(([to, from]) => ({ to, from: join(recipe.directory, from) }))
  const key = contentKey({
    ...{ ...inputs, overlay: await sha256OfTree(overlay), root: plainRoot },
    ...(sharedPaths.length > 0 && { shared: await digestsOf(sharedPaths) }),
  })
  const directory = await context.store.ensure('guest-tree', key, async (into) => {
    context.progress?.({ image: recipe.id, step: 'root file system' })
    const tree = join(into, 'tree')
    await context.tools.run('cp', ['-a', '--reflink=auto', packages.tree, tree])
    await context.tools.run('cp', ['-a', join(kernel.tree, 'usr/lib/modules'), join(tree, 'usr/lib/modules')])
    for (const { from, to } of [...sharedPaths, { from: overlay, to: '' }])
      await cp(from, join(tree, to), { recursive: true, force: true, verbatimSymlinks: true })
    await configureUsers(context.tools, { tree, root })
    await configureSystem(tree, { root, seed: key })
    await configureUnits(tree, root)
    await context.tools.run('ldconfig', ['-r', tree], { fakeRoot: true })
    // What is closed to its owner (gshadow) mkfs could not read without root.
    await context.tools.run('chmod', ['-R', 'u+rwX', tree])
  })
  return { tree: join(directory, 'tree'), key }
}

/** Of files and directories, by where they go. */
async function digestsOf(
  paths: readonly { readonly to: string; readonly from: string }[],
): Promise<Readonly<Record<string, string>>> {
  const digests = paths.map(async ({ to, from }) => {
    const isDirectory = (await stat(from)).isDirectory()
    return [to, await (isDirectory ? sha256OfTree(from) : sha256File(from))] as const
  })
  return Object.fromEntries(await Promise.all(digests))
}

async function configureUsers(
  tools: Tools,
  { tree, root }: { tree: string; root: RootRecipe },
): Promise<void> {
  const masters = join(tree, 'usr/share/base-passwd')
  const users = await readFile(join(masters, 'passwd.master'), 'utf8')
  await writeFile(join(tree, 'etc/passwd'), users.replace(/^([^:]+):[^:]*:/gm, '$1:x:'))
  await cp(join(masters, 'group.master'), join(tree, 'etc/group'))
  const salt = sha256Hex(root.hostname).slice(0, 16)
  const openssl = ['passwd', '-6', '-salt', salt, '-stdin']
  const { stdout } = await tools.run('openssl', openssl, { input: root.rootPassword })
  await writeFile(join(tree, 'etc/shadow'), shadowOf(users, stdout.toString().trim()), { mode: 0o640 })
  await tools.run('systemd-sysusers', [`--root=${tree}`], { fakeRoot: true })
}

/** Root's password, none for the others, and ageing off. */
function shadowOf(users: string, rootHash: string): string {
  const names = users.split('\n').flatMap((line) => /^[^:]+/.exec(line)?.[0] ?? [])
  return names.map((name) => `${name}:${name === 'root' ? rootHash : '*'}::0:99999:7:::\n`).join('')
}

/**
 * The machine id is fixed by the image: with none, systemd takes every boot of an overlay for the first one and
 * presets all units. Two running VMs of one image share it, which matters to DHCP only.
 */
async function configureSystem(
  tree: string,
  { root, seed }: { root: RootRecipe; seed: string },
): Promise<void> {
  const machineId = sha256Hex(`attestbed machine id ${seed}`).slice(0, 32)
  await writeFile(join(tree, 'etc/machine-id'), `${machineId}\n`)
  await writeFile(join(tree, 'etc/hostname'), `${root.hostname}\n`)
  await writeFile(join(tree, 'etc/hosts'), `127.0.0.1 localhost\n127.0.1.1 ${root.hostname}\n`)
  for (const directory of ['boot', 'data', 'mnt', 'var/lib/systemd', 'var/log', 'var/tmp'])
    await mkdir(join(tree, directory), { recursive: true })
}

async function configureUnits(tree: string, root: RootRecipe): Promise<void> {
  if (root.defaultTarget === undefined) return
  const units = join(tree, 'etc/systemd/system')
  await link(
    '/dev/null',
    root.mask.map((unit) => join(units, unit)),
  )
  for (const [target, wanted] of Object.entries(root.wants)) {
    await rm(join(tree, PACKAGED_UNITS, `${target}.wants`), { recursive: true, force: true })
    for (const unit of wanted) await link(await unitPath(tree, unit), [join(units, `${target}.wants`, unit)])
  }
  await link(await unitPath(tree, root.defaultTarget), [join(units, 'default.target')])
  await maskGenerators(tree, root)
}

async function maskGenerators(tree: string, root: RootRecipe): Promise<void> {
  const { generators } = root
  if (generators === undefined) return
  const packaged = await readdir(join(tree, 'usr/lib/systemd/system-generators')).catch(() => [])
  const unwanted = packaged.filter((name) => !generators.includes(name))
  await link(
    '/dev/null',
    unwanted.map((name) => join(tree, 'etc/systemd/system-generators', name)),
  )
}

async function link(target: string, places: readonly string[]): Promise<void> {
  for (const place of places) {
    await mkdir(dirname(place), { recursive: true })
    await rm(place, { force: true })
    await symlink(target, place)
  }
}

/** Absolute path of a unit inside the guest; for an instance its template. */
async function unitPath(tree: string, unit: string): Promise<string> {
  const name = unit.replace(/@.*(\.[a-z]+)$/, '@$1')
  for (const directory of ['etc/systemd/system', PACKAGED_UNITS]) {
    const found = await readFile(join(tree, directory, name)).catch(() => undefined)
    if (found) return `/${directory}/${name}`
  }
  throw new MaterialError(`cannot enable ${unit}: neither the packages nor the image's root/ have it`, {
    code: 'missing',
  })
}
