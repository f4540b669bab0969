#!/usr/bin/env node
// Nothing of ours is imported before the version is known, and nothing newer than Node 14 is used up to there, so
// that an old Node can still say what it lacks.
const MINIMUM_NODE = 24
const version = process.versions.node

if (Number(version.split('.')[0]) < MINIMUM_NODE) {
  process.stderr.write(
    `attestbed: HostError [node-too-old]: cannot start with Node ${version}; Node ${MINIMUM_NODE} or newer is required\n` +
      'hint: in a checkout, scripts/attestbed brings its own Node; elsewhere, install a newer one\n',
  )
  process.exitCode = 3
} else {
  const { resolveOwnModules } = await import('./own-modules.ts')
  resolveOwnModules()
  const { main } = await import('./program.ts')
  process.exitCode = await main(process.argv.slice(2))
}
