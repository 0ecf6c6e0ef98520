// Drives @aws-sdk/client-s3 and lib-storage against a gateway: one check a line of output, as JSON.
// Takes ENDPOINT, ACCESS_KEY, SECRET and BUCKET from the environment.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";

const { ENDPOINT, ACCESS_KEY, SECRET, BUCKET } = process.env;
const MIB = 1024 * 1024;
const DENIED = "Auto Drive storage is immutable. Objects cannot be deleted from the Autonomys DSN.";

const settings = {
  endpoint: ENDPOINT,
  region: "us-east-1",
  forcePathStyle: true,
  maxAttempts: 1,
  credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET },
};
const s3 = new S3Client(settings);

const md5 = (bytes) => createHash("md5").update(bytes).digest("hex");
const named = (Key, more = {}) => ({ Bucket: BUCKET, Key, ...more });
const put = (Key, Body, more = {}) => s3.send(new PutObjectCommand(named(Key, { Body, ...more })));
const get = (Key, more = {}) => s3.send(new GetObjectCommand(named(Key, more)));
const head = (Key) => s3.send(new HeadObjectCommand(named(Key)));
const bytesOf = async (answer) => Buffer.from(await answer.Body.transformToByteArray());

const refused = async (call, status, name) => {
  await assert.rejects(call, (error) => {
    assert.equal(error.$metadata.httpStatusCode, status);
    if (name) assert.equal(error.name, name);
    return true;
  });
};

const checks = {
  async object_comes_back() {
    for (const size of [0, 1, 65066, 65067, 3 * MIB + 1]) {
      const content = randomBytes(size);
      const answer = await put("object", content);
      assert.equal(answer.ETag, `"${md5(content)}"`);
      assert.deepEqual(await bytesOf(await get("object")), content);
      assert.match((await head("object")).Metadata.cid, /^bafkr6i[a-z2-7]{52}$/);
    }
  },

  async stream_goes_up_as_aws_chunked() {
    const content = randomBytes(3 * MIB + 5);
    const pieces = () => Readable.from([content.subarray(0, MIB), content.subarray(MIB)]);
    await put("stream", pieces(), { ContentLength: content.length });
    const answer = await get("stream");
    assert.equal(answer.ContentEncoding, undefined);
    assert.deepEqual(await bytesOf(answer), content);
  },

  async metadata_comes_back() {
    await put("metadata", "x", {
      ContentType: "text/x-odd",
      CacheControl: "max-age=5",
      Metadata: { who: "me" },
    });
    const answer = await head("metadata");
    assert.equal(answer.ContentType, "text/x-odd");
    assert.equal(answer.CacheControl, "max-age=5");
    assert.equal(answer.Metadata.who, "me");
  },

  async ranges_are_exact() {
    const content = randomBytes(200_000);
    await put("range", content);
    for (const [range, expected] of [
      ["bytes=65000-65100", content.subarray(65000, 65101)],
      ["bytes=-10", content.subarray(-10)],
      ["bytes=199990-", content.subarray(199990)],
    ]) {
      const answer = await get("range", { Range: range });
      assert.equal(answer.$metadata.httpStatusCode, 206);
      assert.deepEqual(await bytesOf(answer), expected);
    }
    await refused(get("range", { Range: "bytes=200000-" }), 416, "InvalidRange");
  },

  async checksums_are_verified() {
    for (const ChecksumAlgorithm of ["CRC32", "SHA1", "SHA256"]) {
      const answer = await put("checksum", "content", { ChecksumAlgorithm });
      assert.ok(answer[`Checksum${ChecksumAlgorithm}`]);
      assert.equal(String(await bytesOf(await get("checksum"))), "content");
    }
    await refused(put("wrong", "content", { ChecksumCRC32: "AAAAAQ==" }), 400, "BadDigest");
    await refused(head("wrong"), 404);
  },

  async clients_without_default_checksums_work() {
    const old = new S3Client({ ...settings, requestChecksumCalculation: "WHEN_REQUIRED" });
    await old.send(new PutObjectCommand(named("old", { Body: "x" })));
    assert.equal(String(await bytesOf(await get("old"))), "x");
  },

  async parts_make_an_object() {
    const contents = [randomBytes(5 * MIB), randomBytes(5 * MIB), randomBytes(7)];
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand(named("parts")));
    const etags = await Promise.all(
      contents.map((Body, index) =>
        s3
          .send(new UploadPartCommand(named("parts", { UploadId, PartNumber: index + 1, Body })))
          .then((answer) => answer.ETag),
      ),
    );
    const listed = await s3.send(new ListPartsCommand(named("parts", { UploadId })));
    assert.deepEqual(listed.Parts.map((part) => part.ETag), etags);
    const Parts = etags.map((ETag, index) => ({ PartNumber: index + 1, ETag }));
    const done = await s3.send(
      new CompleteMultipartUploadCommand(named("parts", { UploadId, MultipartUpload: { Parts } })),
    );
    assert.match(done.ETag, /-3"$/);
    assert.deepEqual(await bytesOf(await get("parts")), Buffer.concat(contents));
  },

  async upload_of_lib_storage() {
    const content = randomBytes(12 * MIB + 3);
    const Body = Readable.from(
      (function* () {
        for (let start = 0; start < content.length; start += 700_000) {
          yield content.subarray(start, start + 700_000);
        }
      })(),
    );
    const params = named("lib/same", { Body, Metadata: { who: "me" } });
    await new Upload({ client: s3, params, queueSize: 4, partSize: 5 * MIB }).done();
    assert.deepEqual(await bytesOf(await get("lib/same")), content);
    await put("put/same", content);
    const cids = await Promise.all(["lib/same", "put/same"].map(async (k) => (await head(k)).Metadata.cid));
    assert.equal(cids[0], cids[1]);
    assert.equal((await head("lib/same")).Metadata.who, "me");
  },

  async aborted_upload_is_gone() {
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand(named("aborted")));
    await s3.send(new AbortMultipartUploadCommand(named("aborted", { UploadId })));
    const { Uploads = [] } = await s3.send(new ListMultipartUploadsCommand({ Bucket: BUCKET }));
    assert.deepEqual(Uploads.filter((upload) => upload.UploadId === UploadId), []);
    await refused(s3.send(new ListPartsCommand(named("aborted", { UploadId }))), 404, "NoSuchUpload");
  },

  async listing_by_page() {
    const keys = Array.from({ length: 12 }, (_, n) => `list/${n % 3}/${String(n).padStart(2, "0")}`);
    await Promise.all(keys.map((key) => put(key, key)));
    const found = [];
    // A new object each time: the paginator writes its token into it.
    const query = (more = {}) => ({ Bucket: BUCKET, Prefix: "list/", ...more });
    for await (const page of paginateListObjectsV2({ client: s3, pageSize: 5 }, query())) {
      found.push(...page.Contents.map((item) => item.Key));
    }
    assert.deepEqual(found, [...keys].sort());
    const folders = [];
    const folded = query({ Delimiter: "/" });
    for await (const page of paginateListObjectsV2({ client: s3, pageSize: 2 }, folded)) {
      folders.push(...(page.CommonPrefixes ?? []).map((item) => item.Prefix));
    }
    assert.deepEqual(folders, ["list/0/", "list/1/", "list/2/"]);
  },

  async odd_keys_stay() {
    const keys = ["odd/a b+c", "odd/%20", "odd/ü/日本", "odd/x//y", "odd/end/", "odd/&<>\"'", "odd/a?b#c"];
    for (const key of keys) await put(key, key);
    for (const key of keys) assert.equal(String(await bytesOf(await get(key))), key);
  },

  async buckets() {
    await s3.send(new CreateBucketCommand({ Bucket: `${BUCKET}-made` }));
    const { Buckets } = await s3.send(new ListBucketsCommand({}));
    const names = Buckets.map((bucket) => bucket.Name);
    assert.ok(names.includes(BUCKET) && names.includes(`${BUCKET}-made`));
  },

  async flat_key_is_in_bucket_default() {
    const flat = new S3Client({ ...settings, bucketEndpoint: true });
    const address = { Bucket: ENDPOINT, Key: `${BUCKET}.txt` };
    await flat.send(new PutObjectCommand({ ...address, Body: "flat" }));
    assert.equal(String(await bytesOf(await flat.send(new GetObjectCommand(address)))), "flat");
    const same = new GetObjectCommand({ Bucket: "default", Key: `${BUCKET}.txt` });
    assert.equal(String(await bytesOf(await s3.send(same))), "flat");
  },

  async create_only_if_absent() {
    await put("once", "one", { IfNoneMatch: "*" });
    await refused(put("once", "two", { IfNoneMatch: "*" }), 412, "PreconditionFailed");
  },

  async missing_key_is_an_error() {
    await refused(get("absent"), 404, "NoSuchKey");
    await refused(head("absent"), 404, "NotFound");
  },

  async delete_is_denied() {
    await put("kept", "x");
    await assert.rejects(s3.send(new DeleteObjectCommand(named("kept"))), (error) => {
      assert.equal(error.$metadata.httpStatusCode, 403);
      assert.equal(error.message, DENIED);
      return true;
    });
    assert.equal(String(await bytesOf(await get("kept"))), "x");
  },

  async wrong_secret_is_denied() {
    const credentials = { accessKeyId: ACCESS_KEY, secretAccessKey: "wrong" };
    const stranger = new S3Client({ ...settings, credentials });
    await refused(stranger.send(new ListBucketsCommand({})), 403, "SignatureDoesNotMatch");
  },
};

await put("first", "makes the bucket");
for (const [check, run] of Object.entries(checks)) {
  let error = null;
  try {
    await run();
  } catch (failure) {
    error = String(failure.stack ?? failure);
  }
  console.log(JSON.stringify({ check, error }));
}
