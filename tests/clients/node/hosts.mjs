// Addresses buckets by host with @aws-sdk/client-s3: as it does by default, and by `bucketEndpoint`.
// Takes DOMAIN, PORT, ACCESS_KEY, SECRET and BUCKET from the environment; fails with what went wrong.

import assert from "node:assert/strict";
import dns from "node:dns";
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";

const { DOMAIN, PORT, ACCESS_KEY, SECRET, BUCKET } = process.env;

// Names below .localhost are this machine, which not every resolver knows.
const lookup = dns.lookup;
dns.lookup = (host, ...rest) => lookup(host.endsWith(`.${DOMAIN}`) ? "127.0.0.1" : host, ...rest);

const settings = {
  region: "us-east-1",
  maxAttempts: 1,
  credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET },
};
const textOf = async (answer) => answer.Body.transformToString();
const awkward = "a//b/../c d+e%2F?&ü";

const byHost = new S3Client({ ...settings, endpoint: `http://${DOMAIN}:${PORT}` });
await byHost.send(new CreateBucketCommand({ Bucket: BUCKET }));
await byHost.send(new PutObjectCommand({ Bucket: BUCKET, Key: awkward, Body: "by host" }));
assert.equal(await textOf(await byHost.send(new GetObjectCommand({ Bucket: BUCKET, Key: awkward }))), "by host");

const Bucket = `http://${BUCKET}.${DOMAIN}:${PORT}`;
const byEndpoint = new S3Client({ ...settings, bucketEndpoint: true });
await byEndpoint.send(new PutObjectCommand({ Bucket, Key: "k", Body: "by endpoint" }));
assert.equal(await textOf(await byEndpoint.send(new GetObjectCommand({ Bucket, Key: "k" }))), "by endpoint");
const listed = await byEndpoint.send(new ListObjectsV2Command({ Bucket }));
assert.deepEqual(listed.Contents.map(({ Key }) => Key), [awkward, "k"]);
