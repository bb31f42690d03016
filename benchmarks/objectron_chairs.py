"""What the Objectron chair network reads from renders whose cameras are known.

python benchmarks/objectron_chairs.py --json benchmarks/results/objectron-chairs.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import netinvert as ni
from netinvert.files import write_json
from netinvert.judging import read_poses

CHAIRS = Path(__file__).parent.parent / "tests" / "data" / "chairs"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    encoder = ni.Encoder(ni.load_network("objectron-chair"), "keypoints")
    cameras = json.loads((CHAIRS / "cameras.json").read_text())
    rows = []
    for name, camera in cameras.items():
        reading = read_poses(encoder, encoder.fit(ni.read_image(CHAIRS / name)))
        assert reading is not None
        azimuth = (reading.azimuth.item() - camera["azimuth"] + 180) % 360 - 180
        pixels = (reading.keypoints[0] - torch.tensor(camera["keypoints"])).norm(dim=-1).mean().item()
        row = {
            "picture": name,
            "azimuth": camera["azimuth"],
            "keypoint_error_px": pixels,
            "azimuth_error_deg": azimuth,
            "elevation_error_deg": reading.elevation.item() - camera["elevation"],
            "presence": reading.presence.item(),
        }
        rows.append(row)
        print(
            f"{name:16} keypoints {pixels:5.1f} px, azimuth {azimuth:+6.1f}°, elevation "
            f"{row['elevation_error_deg']:+5.1f}°, presence {row['presence']:.3f}"
        )
    errors = torch.tensor([abs(row["azimuth_error_deg"]) for row in rows])
    summary = {
        "views": len(rows),
        "azimuth_within_20_deg": int((errors < 20).sum()),
        "median_azimuth_error_deg": errors.median().item(),
        "median_keypoint_error_px": torch.tensor([row["keypoint_error_px"] for row in rows]).median().item(),
    }
    print(summary)
    if options.json:
        write_json(options.json, {"summary": summary, "rows": rows})


if __name__ == "__main__":
    main()
