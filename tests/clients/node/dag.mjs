// Builds DAGs with the official package: one JSON request a line in, one JSON answer a line out.
// The answer names the root and hashes the CIDs in the order in which they were written.

import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import {
  cidToString,
  processFileToIPLDFormat,
  processFolderToIPLDFormat,
  stringToCid,
} from '@autonomys/auto-dag-data'

class WriteLog {
  // The package deletes the only chunk of a one-node file again, so entries can be taken back.
  written = []
  blocks = new Map()

  async put(cid, block) {
    const key = cidToString(cid)
    this.written.push(cid)
    // Only what may be asked for again is kept: the first chunk.
    if (this.blocks.size === 0) this.blocks.set(key, block)
    return cid
  }

  async get(cid) {
    return this.blocks.get(cidToString(cid))
  }

  async delete(cid) {
    const key = cidToString(cid)
    this.written = this.written.filter((other) => cidToString(other) !== key)
  }
}

async function buildFile(log, path, size, name, given) {
  // Opened before the package sees it: a stream opens when it likes, and the file may be gone then.
  const file = await open(path)
  try {
    return await processFileToIPLDFormat(log, file.createReadStream(), BigInt(size), name, given)
  } finally {
    await file.close()
  }
}

async function build({ path, size, name, options, limits, children }) {
  const log = new WriteLog()
  const given = { ...limits, ...options }
  const root =
    children === undefined
      ? await buildFile(log, path, size, name, given)
      : await processFolderToIPLDFormat(
          log,
          children.map((text) => stringToCid(text)),
          name,
          BigInt(size),
          given,
        )
  const hash = createHash('sha256')
  for (const cid of log.written) hash.update(cid.bytes)
  return { root: cidToString(root), nodes: log.written.length, nodesSha256: hash.digest('hex') }
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    answer = await build(JSON.parse(line))
  } catch (error) {
    answer = { error: error.message }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
