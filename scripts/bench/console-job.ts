import { benchConsole } from '../../harness/machine/console/console.bench.ts'
import type { Job } from './child.ts'

export const consoleJob: Job = () => benchConsole()
