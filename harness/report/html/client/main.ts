/** The script of the HTML report. Nothing of a guest is ever more than text to it: see the policy in the page's head. */
import { h, render } from 'preact'
import { App } from './app.ts'
import { readIndex } from './blocks.ts'

async function start(): Promise<void> {
  const root = document.getElementById('root')
  if (!root) return
  try {
    const index = await readIndex()
    render(h(App, { index }), root)
  } catch (error) {
    root.textContent = `This report cannot be shown: ${error instanceof Error ? error.message : String(error)}`
  }
  document.documentElement.dataset['ready'] = 'yes'
}

void start()
