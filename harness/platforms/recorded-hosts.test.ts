import t from 'tap'
import { probeHost } from '../probe/host.ts'
import { readRecord, recordedHosts, recordedSpec } from '../probe/recorded-host.ts'
import { resolvePaths } from '../system/paths.ts'
import { readFirmwareManifest } from './firmware.ts'
import { PLATFORM_IDS } from './platform-id.ts'
import { rankPlatforms, reportHost } from './report.ts'

const builds = await readFirmwareManifest(resolvePaths().checkout)

for (const name of recordedHosts()) {
  const record = readRecord(name)
  const { rank, reasons, limits } = record.expected

  t.test(`${record.title}: ${rank.length > 0 ? `runs ${rank.join(', ')}` : 'runs nothing'}`, async (t) => {
    const report = reportHost(await probeHost(recordedSpec(record, builds)), builds)
    t.strictSame(rankPlatforms(report), rank)
    t.strictSame(
      Object.keys(report.platforms).sort(),
      [...PLATFORM_IDS].sort(),
      'a verdict for each platform',
    )
    for (const id of PLATFORM_IDS) {
      const verdict = report.platforms[id]
      if (verdict?.usable) {
        t.notOk('reason' in verdict, `${id} is usable: no reason`)
        t.match(verdict.limits?.join() ?? '', limits[id] ?? /^$/, `the limits of ${id}`)
      } else {
        t.ok(reasons[id], `${id}: the record must say why not`)
        t.match(verdict?.reason, reasons[id], `why not ${id}`)
      }
    }
  })
}
