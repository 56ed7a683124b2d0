#!/usr/bin/env python3
"""Runs faults/hostile.py on the cases whose engines exist, and counts the others as skipped.

hostile-exceptions.json beside this file says what is left out, and why:
  "missing": {"need": reason}        cases that need it are not sent
  "cases":   {"class/id": reason}    such a case is sent and must fail; one that passes is a failure here
A case's needs are read off the paths that it names (NEEDS below).

  Tests/System/hostile_run.py --bin .build/release/holdfast [--only REGEX]
"""
import argparse, collections, json, re, subprocess, sys
from pathlib import Path

from support import FILE_CONFIG, HERE, free_port, workdir

# What a case needs, by what it says. The mounts are those that hostile.py makes.
NEEDS = {
    "transit": r"/v1/hxt/", "pki": r"/v1/hxp/", "totp": r"/v1/hxo/|\{\{totp:",
    "userpass": r"/v1/auth/hxu/", "approle": r"/v1/auth/hxa/", "jwt": r"/v1/auth/hxj/",
    "identity": r"/v1/identity/", "audit": r"/v1/sys/audit",
    "wrapping": r"/v1/sys/wrapping/|X-Vault-Wrap-TTL", "generate-root": r"/v1/sys/generate-root",
    "rekey": r"/v1/sys/rekey", "raft": r"/v1/sys/storage/raft", "quotas": r"/v1/sys/quotas",
    "tools": r"/v1/sys/tools/", "plugins": r"/v1/sys/plugins", "control-group": r"/v1/sys/control-group",
    "cors": r"/v1/sys/config/cors", "password-policies": r"/v1/sys/policies/password",
}


def needs(case):
    text = json.dumps([case["steps"], case.get("cleanup", [])])
    return {name for name, pattern in NEEDS.items() if re.search(pattern, text, re.I)}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    p.add_argument("--only", help="regular expression on case id or class")
    a = p.parse_args()
    rules = json.loads((HERE / "hostile-exceptions.json").read_text())
    unknown = set(rules["missing"]) - set(NEEDS)
    if unknown:
        p.error(f"hostile-exceptions.json: nothing is known to need {', '.join(sorted(unknown))}")
    cases = json.loads((HERE / "faults/hostile_public.json").read_text())["cases"]
    names = {f"{c['class']}/{c['id']}" for c in cases}
    stale = set(rules["cases"]) - names
    left_out = collections.Counter()
    sent = []
    for case in cases:
        lacking = sorted(needs(case) & set(rules["missing"]))
        if lacking:
            left_out[lacking[0]] += 1
        else:
            sent.append(case)
    with workdir("hostile-run") as temp:
        corpus, result = Path(temp) / "cases.json", Path(temp) / "report.json"
        corpus.write_text(json.dumps({"cases": sent}))
        config = Path(temp) / "template.hcl"                  # the web UI is off unless a file says so
        config.write_text(FILE_CONFIG + "ui = true\n")
        command = [sys.executable, HERE / "faults/hostile.py", "--cmd", f"{a.bin.absolute()} server -config={{config}}",
                   "--config", config, "--port", str(free_port()), "--report", result, corpus]
        command += ["--only", a.only] if a.only else []
        code = subprocess.run([str(x) for x in command], stdin=subprocess.DEVNULL).returncode
        verdicts = json.loads(result.read_text()) if result.exists() else []
    passed = failed = skipped = 0
    for v in verdicts:
        name = f"{v['class']}/{v['id']}"
        if name in rules["cases"] and v["verdict"] == "failed":
            skipped += 1
            print(f"excepted {name}: {rules['cases'][name]}")
        elif name in rules["cases"] and v["verdict"] == "passed":
            failed += 1
            print(f"FAIL  {name} is listed as an exception but passes: take it off the list")
        else:
            passed, failed, skipped = (passed + (v["verdict"] == "passed"), failed + (v["verdict"] == "failed"),
                                       skipped + (v["verdict"] == "skipped"))
    for name in sorted(stale):
        failed += 1
        print(f"FAIL  {name} is listed as an exception, but there is no such case")
    unsent = len(sent) - len(verdicts)
    if unsent and not a.only:
        failed += unsent
        print(f"FAIL  {unsent} cases were not sent: hostile.py ended early with exit status {code}")
    for name, n in sorted(left_out.items()):
        print(f"not sent: {n:3} cases that need {name}: {rules['missing'][name]}")
    skipped += sum(left_out.values())
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
