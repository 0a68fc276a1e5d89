// Compares the vendored files byte for byte with the packages that the registry gave, whose integrity npm has checked.
import { readFileSync } from "node:fs";

const read = (/** @type {string} */ path) => readFileSync(new URL(path, import.meta.url));
const lock = JSON.parse(read("../vendor/lock.json").toString());
const { packages } = JSON.parse(read("../package-lock.json").toString());
const faults = [];
for (const { name, version, integrity, licence, files } of lock) {
  const installed = packages[`node_modules/${name}`];
  if (installed?.version !== version)
    faults.push(`${name} is ${version} here and ${installed?.version} in package-lock.json`);
  if (installed?.integrity !== integrity) faults.push(`the integrity of ${name} is another in package-lock.json`);
  if (installed?.license !== licence) faults.push(`${name} has the licence ${installed?.license}`);
  for (const { file, from } of files) {
    const theirs = read(`../node_modules/${name}/${from.replace("package/", "")}`);
    if (!theirs.equals(read(`../vendor/${file}`))) faults.push(`${file} is not ${name}/${from}`);
  }
}
for (const fault of faults) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;
