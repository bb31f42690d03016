"""Annotations in six formats, each written here as its dataset writes it."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from netinvert.errors import ConfigError
from netinvert.scenes.annotations import format_of, load_annotations, sequence_message
from netinvert.scenes.cameras import Camera, rotation_from_angles
from netinvert.scenes.poses import BOX_FROM_PASCAL
from netinvert.scenes.viewpoints import AnnotationError, read_render_for_cnn, read_street_view

UPRIGHT = {"file_path": "a", "transform_matrix": np.eye(4).tolist()}
CUBE = np.array([[x, y, z] for x in (-0.3, 0.3) for y in (-0.2, 0.2) for z in (-0.4, 0.4)])


def project_3d(points, view):
    """The devkit's project_3d.m, line by line."""
    a, e, theta = (math.radians(view[name]) for name in ("azimuth", "elevation", "theta"))
    d, f, m = view["distance"], view["focal"], view["viewport"]
    c = np.array([d * math.cos(e) * math.sin(a), -d * math.cos(e) * math.cos(a), d * math.sin(e)])
    a, e = -a, -(math.pi / 2 - e)
    rz = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    rx = np.array([[1, 0, 0], [0, math.cos(e), -math.sin(e)], [0, math.sin(e), math.cos(e)]])
    r = rx @ rz
    p = np.diag([m * f, m * f, -1]) @ np.column_stack([r, -r @ c])
    x = p @ np.column_stack([points, np.ones(len(points))]).T
    flat = (x[:2] / x[2]).T
    turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    flat = (turn @ flat.T).T
    flat[:, 1] *= -1
    return flat + np.array([view["px"], view["py"]])


def viewpoint(**changes):
    return {
        "azimuth": 40.0,
        "elevation": 15.0,
        "theta": -8.0,
        "distance": 5.0,
        "focal": 1.0,
        "px": 250.0,
        "py": 180.0,
        "viewport": 3000.0,
    } | changes


def pascal_file(path, objects, **record):
    whole = {"filename": "2008_000123.jpg", "imgsize": np.array([500, 375, 3]), "objects": objects} | record
    savemat(path, {"record": whole})


@given(st.floats(0, 359), st.floats(-60, 80), st.floats(-90, 90), st.floats(2, 20), st.floats(-50, 400))
def test_pascal3d_projects_as_its_devkit(tmp_path_factory, azimuth, elevation, theta, distance, px):
    view = viewpoint(azimuth=azimuth, elevation=elevation, theta=theta, distance=distance, px=px)
    path = tmp_path_factory.mktemp("pascal") / "2008_000123.mat"
    pascal_file(path, [{"class": "chair", "viewpoint": view, "bbox": np.array([1.0, 1, 500, 375])}])
    (one,) = load_annotations(path).found
    # MATLAB counts pixels from 1
    assert np.allclose(one.camera.project(CUBE)[0] + 0.5, project_3d(CUBE, view), atol=1e-6)
    assert (one.camera.size, one.box) == ((500, 375), (0, 0, 500, 375))
    assert one.camera.azimuth == pytest.approx(azimuth, abs=1e-4) or abs(one.camera.azimuth - 360) < 1e-3
    assert one.camera.distance == pytest.approx(distance)


def test_pascal3d_leaves_coarse_objects_out_and_counts_them(tmp_path):
    good = {"class": "chair", "viewpoint": viewpoint(), "truncated": 1, "occluded": 0, "cad_index": 3}
    coarse = {"class": "sofa", "viewpoint": viewpoint(distance=0.0)}
    pascal_file(tmp_path / "a.mat", [good, coarse, {"class": "person", "viewpoint": np.array([])}])
    pascal_file(tmp_path / "b.mat", good)  # MATLAB keeps no list of one
    pascal_file(tmp_path / "c.mat", np.array([]))
    read = load_annotations(tmp_path)
    assert [one.identity for one in read.found] == ["a-0", "b-0"]
    assert sorted(read.skipped.values()) == [1, 1]
    assert read.found[0].details == {"truncated": True, "occluded": False, "cad_index": 3}
    assert read.found[0].image == tmp_path / "2008_000123.jpg"


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda p: p.write_bytes(b"MATLAB nonsense"), "readable"),
        (lambda p: savemat(p, {"other": 1}), "record"),
        (lambda p: savemat(p, {"record": {"objects": {"viewpoint": viewpoint()}}}), "size"),
        (lambda p: pascal_file(p, [{"viewpoint": viewpoint(azimuth=math.nan)}] * 2), "object 0"),
        (lambda p: pascal_file(p, [{"viewpoint": {"distance": 3.0}}] * 2), "object 0"),
    ],
)
def test_bad_pascal3d(tmp_path, write, said):
    write(tmp_path / "a.mat")
    with pytest.raises(AnnotationError, match=said):
        load_annotations(tmp_path / "a.mat")


def test_render_for_cnn_negates_the_tilt_of_the_published_package(tmp_path):
    path = tmp_path / "03001627_1a6f615e8b1b5ae4_a010_e007_t016_d002.png"
    Image.new("RGB", (90, 60)).save(path)
    (one,) = load_annotations(tmp_path).found
    camera = one.camera
    assert (round(camera.azimuth, 6), round(camera.elevation, 6), round(camera.in_plane, 6)) == (10, 7, -16)
    assert (one.category, one.identity, one.calibrated) == ("03001627", "1a6f615e8b1b5ae4", False)
    assert camera.size == (90, 60)
    assert round(read_render_for_cnn(path, negate_tilt=False).camera.in_plane, 6) == 16
    low = tmp_path / "03001627_ab_a359_e-07_t344_d001.png"
    Image.new("RGB", (8, 8)).save(low)
    assert round(read_render_for_cnn(low).camera.elevation, 6) == -7
    assert round(read_render_for_cnn(low).camera.in_plane, 6) == 16


def test_bad_renders_for_cnn(tmp_path):
    with pytest.raises(AnnotationError, match="named"):
        read_render_for_cnn(tmp_path / "chair.png")
    torn = tmp_path / "1_2_a010_e007_t016_d002.png"
    torn.write_bytes(b"\x89PNG")
    with pytest.raises(AnnotationError, match="opened"):
        load_annotations(tmp_path)


def camera_to_world(camera):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = camera.rotation.T, camera.position
    return matrix.tolist()


def test_nerf_of_blender_and_of_nerfstudio(tmp_path):
    truth = Camera.orbit(200, 35, 10, 4.0, 40.0, 80)
    (tmp_path / "train").mkdir()
    Image.new("RGBA", (80, 80)).save(tmp_path / "train" / "r_0.png")
    frames = [{"file_path": "./train/r_0", "transform_matrix": camera_to_world(truth)}]
    path = tmp_path / "transforms_train.json"
    path.write_text(json.dumps({"camera_angle_x": math.radians(40), "frames": frames}))
    (one,) = load_annotations(tmp_path).found
    assert one.image == tmp_path / "train" / "r_0.png"
    assert np.allclose(one.camera.project(CUBE)[0], truth.project(CUBE)[0])

    lens = {"fl_x": 100.0, "fl_y": 110.0, "cx": 39.0, "cy": 31.0, "w": 80, "h": 60, "k1": 0.0}
    path.write_text(json.dumps({**lens, "frames": frames}))
    (one,) = load_annotations(path).found
    assert one.camera.size == (80, 60)
    assert one.camera.intrinsics.tolist() == [[100, 0, 39], [0, 110, 31], [0, 0, 1]]


def nerf_camera(tmp_path, frame=(), **content):
    frames = [{"file_path": "a.png", "transform_matrix": np.eye(4).tolist(), **dict(frame)}]
    (tmp_path / "transforms.json").write_text(json.dumps({"w": 400, "h": 300, **content, "frames": frames}))
    (one,) = load_annotations(tmp_path / "transforms.json").found
    return one.camera


@pytest.mark.parametrize(
    ("content", "frame", "expected"),
    [
        ({"camera_angle_x": 1.0, "camera_angle_y": 0.9}, {}, (200 / math.tan(0.5), 150 / math.tan(0.45))),
        ({"camera_angle_x": 1.0}, {}, (200 / math.tan(0.5),) * 2),
        ({"camera_angle_y": 0.9}, {}, (150 / math.tan(0.45),) * 2),
        ({"x_fov": 90, "y_fov": 60}, {}, (200, 150 / math.tan(math.pi / 6))),
        ({"fl_y": 310}, {}, (310, 310)),
        ({"fl_x": 500, "camera_angle_x": 1.0, "camera_angle_y": 0.9}, {}, (500, 150 / math.tan(0.45))),
        ({"fl_x": 500}, {"fl_x": 450}, (450, 450)),
        ({"fl_x": 500, "fl_y": 510}, {"camera_angle_x": 1.0}, (200 / math.tan(0.5), 510)),
        ({"camera_angle_x": 1.0}, {"w": 800}, (400 / math.tan(0.5),) * 2),
        ({"fl_x": 500, "camera_model": "OPENCV", "k1": 0, "p2": 0.0, "is_fisheye": False}, {}, (500, 500)),
        ({"fl_x": 500, "k1": 0.1}, {"k1": 0}, (500, 500)),
    ],
)
def test_focal_lengths_of_nerf(tmp_path, content, frame, expected):
    camera = nerf_camera(tmp_path, frame, **content)
    assert np.allclose((camera.intrinsics[0, 0], camera.intrinsics[1, 1]), expected)
    assert tuple(camera.intrinsics[:2, 2]) == (camera.size[0] / 2, camera.size[1] / 2)


def test_the_world_of_nerf_is_the_files_own(tmp_path):
    turned = [[0, 1, 0, 2], [1, 0, 0, 3], [0, 0, -1, 4]]
    camera = nerf_camera(tmp_path, fl_x=500, applied_transform=turned, applied_scale=0.5)
    assert np.array_equal(camera.position, np.zeros(3))


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize(
    "lens",
    [
        {"is_fisheye": True},
        {"camera_model": "OPENCV_FISHEYE", "k1": 0, "k2": 0},
        {"camera_model": "EQUIRECTANGULAR"},
        {"camera_model": "equirectangular"},
        {"camera_model": "OMNIDIRECTIONALSTEREO_L"},
        {"camera_model": "THIN_PRISM_FISHEYE"},
        {"equirectangular": True},
        {"latlong": True},
        {"orthographic": True},
        {"ftheta_p0": 0.3},
        {"distortion_params": [0, 0, 0.1, 0, 0, 0]},
        *({key: -0.01} for key in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "s1")),
    ],
)
def test_lenses_that_are_no_pinhole_are_refused(tmp_path, lens, per_frame):
    with pytest.raises(AnnotationError, match=next(iter(lens))):
        nerf_camera(tmp_path, lens if per_frame else (), fl_x=150, **({} if per_frame else lens))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "frames"),
        ("[]", "frames"),
        ('{"frames": [{"file_path": "a"}]}', "transform_matrix"),
        ('{"frames": [{"file_path": "a", "transform_matrix": [[1]]}]}', r"\(4, 4\)"),
        (
            json.dumps({"w": 8, "h": 8, "frames": [UPRIGHT]}),
            "camera_angle_x",
        ),
        (
            json.dumps({"k1": 0.1, "frames": [UPRIGHT]}),
            "distorted",
        ),
        (
            json.dumps({"fl_x": 9, "frames": [UPRIGHT]}),
            "no w and h",
        ),
        (
            json.dumps(
                {
                    "w": 8, "h": 8, "fl_x": 9,
                    "frames": [{"file_path": "a", "transform_matrix": (2 * np.eye(4)).tolist()}],
                }
            ),
            "orthonormal",
        ),
    ],
)  # fmt: skip
def test_bad_nerf(tmp_path, content, said):
    path = tmp_path / "transforms.json"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=said):
        load_annotations(path)


COLMAP_CAMERAS = """# Camera list with one line of data per camera:
#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
1 SIMPLE_PINHOLE 640 480 500 320 240
2 OPENCV 640 480 500 510 321 239 0 0 0 0
"""


def colmap_folder(folder, cameras=COLMAP_CAMERAS, images=None):
    folder.mkdir(exist_ok=True)
    (folder / "cameras.txt").write_text(cameras)
    # a camera three metres before the origin, upright, that looks along +z
    images = (
        images
        or "# two lines an image\n1 1 0 0 0 0 0 3 1 first image.jpg\n\n2 0 0 0 2 1 0 3 2 b.jpg\n1 2 -1\n"
    )
    (folder / "images.txt").write_text(images)


def test_colmap(tmp_path):
    colmap_folder(tmp_path / "sparse")
    first, second = load_annotations(tmp_path / "sparse").found
    assert first.image.name == "first image.jpg"
    pixels, depth = first.camera.project([[0, 0, 0], [0.3, 0, 0], [0, 0.3, 0]])
    assert np.allclose(pixels, [[320, 240], [370, 240], [320, 290]])  # x right, y down
    assert np.allclose(depth, 3)
    assert np.allclose(first.camera.position, [0, 0, -3])
    # half a turn about z, not normalised: COLMAP's own formula R X + t
    pixels, _ = second.camera.project([[0.3, 0.2, 0]])
    assert np.allclose(pixels, [[500 * (-0.3 + 1) / 3 + 321, 510 * -0.2 / 3 + 239]])


FIRST, SECOND = "1 1 0 0 0 0 0 3 1 a.jpg", "2 1 0 0 0 1 0 3 1 0002"


@pytest.mark.parametrize(
    "text",
    [
        f"{FIRST}\n\n{SECOND}\n\n",
        f"# images\n\n\n{FIRST}\n1 2 -1\n{SECOND}\n1 2 -1 3 4 17\n",
        f"  # images\n{FIRST}\n1 2 -1\n\n\n# more\n{SECOND}\n\n\n  \n",
        f"{FIRST}\n{SECOND}",
        f"{FIRST}\n{SECOND}\n1 2 -1",
        f"\r\n{FIRST}\r\n1 2 -1\r\n{SECOND}\r\n",
    ],
)
def test_colmap_with_blank_lines_and_images_without_points(tmp_path, text):
    colmap_folder(tmp_path / "sparse", "\n" + COLMAP_CAMERAS + "\n\n", text)
    found = load_annotations(tmp_path / "sparse").found
    assert [one.image.name for one in found] == ["a.jpg", "0002"]
    assert [one.camera.position.tolist() for one in found] == [[0, 0, -3], [-1, 0, -3]]


def test_binary_colmap_is_refused_with_what_makes_text_of_it(tmp_path):
    (tmp_path / "images.bin").write_bytes(bytes(8))
    with pytest.raises(AnnotationError, match="model_converter"):
        load_annotations(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": f"{FIRST}\n\n2 1 0 0 0 0 0 3 1\n"}, "QW"),
        ({"cameras": "1 FISHEYE 640 480 1 2 3\n"}, "PINHOLE"),
        ({"cameras": "1 PINHOLE 640 480 500 320 240\n"}, "4 parameters"),
        ({"cameras": "1 SIMPLE_RADIAL 640 480 500 320 240 0.1\n"}, "undistorter"),
        ({"cameras": "1 PINHOLE 640 480 500 nan 320 240\n"}, "NaN"),
        ({"cameras": "1 PINHOLE 0 480 500 500 320 240\n"}, "pixels"),
        ({"images": "1 1 0 0 0 0 0 3 7 a.jpg\n\n"}, "camera 7"),
        ({"images": "1 0 0 0 0 0 0 3 1 a.jpg\n\n"}, "quaternion"),
        ({"images": "1 1 0 0 0 0 0\n\n"}, "QW"),
        ({"images": "1 a 0 0 0 0 0 3 1 a.jpg\n\n"}, "numbers"),
    ],
)
def test_bad_colmap(tmp_path, changes, said):
    colmap_folder(tmp_path / "sparse", **changes)
    with pytest.raises(AnnotationError, match=said):
        load_annotations(tmp_path / "sparse")


def objectron_sequence(rotation, translation, view, fov=60.0):
    """A message as the dataset has it, with a sensor of 1920 × 1440 that was held upright."""
    sequence = sequence_message()()
    sequence.objects.add(
        id=1,
        category="chair",
        rotation=rotation.ravel(),
        translation=translation,
        scale=[0.5, 0.9, 0.6],
    )
    f = 1 / math.tan(math.radians(fov) / 2)
    projection = np.array([[f, 0, 0.02, 0], [0, f * 1920 / 1440, -0.03, 0], [0, 0, -1, -0.1], [0, 0, -1, 0]])
    frame = sequence.frame_annotations.add(frame_id=7)
    frame.camera.image_resolution_width, frame.camera.image_resolution_height = 1920, 1440
    frame.camera.projection_matrix.extend(projection.ravel())
    frame.camera.view_matrix.extend(view.ravel())
    frame.annotations.add(object_id=1, visibility=0.75)
    return sequence, projection


def test_objectron_projects_as_its_own_tool(tmp_path):
    rng = np.random.default_rng(3)
    rotation = rotation_from_angles(50, 20, 30)
    translation = np.array([0.3, -0.2, 0.1])
    view = np.eye(4)
    view[:3, :3] = rotation_from_angles(*rng.uniform(-90, 90, 3))
    view[:3, 3] = [0.2, -0.1, -2.5] - view[:3, :3] @ translation
    sequence, projection = objectron_sequence(rotation, translation, view)
    path = tmp_path / "batch-1_3.pbdata"
    path.write_bytes(sequence.SerializeToString())
    (one,) = load_annotations(tmp_path).found
    box = rng.uniform(-0.5, 0.5, (8, 3)) * [0.5, 0.9, 0.6]  # in the box: y up, z front
    world = box @ rotation.T + translation
    flat = projection @ view @ np.column_stack([world, np.ones(8)]).T
    # the dataset's project_points: x and y of the upright image are y and x of the device
    expected = np.column_stack([(1 + flat[1] / flat[3]) / 2 * 1440, (1 + flat[0] / flat[3]) / 2 * 1920])
    ours = box @ np.array(BOX_FROM_PASCAL)
    assert np.allclose(one.camera.project(ours)[0], expected, atol=1e-2)
    assert one.camera.size == (1440, 1920)
    assert (one.category, one.identity, one.image.name) == ("chair", "batch-1_3-1", "7.png")
    assert one.details["visibility"] == 0.75
    # a point before the box's front is nearer to a camera at azimuth 0
    assert one.camera.azimuth == pytest.approx(
        math.degrees(math.atan2(one.camera.position[0], -one.camera.position[1])) % 360, abs=5
    )


def test_objectron_skips_objects_it_does_not_know(tmp_path):
    view = np.eye(4)
    view[2, 3] = -2
    sequence, _ = objectron_sequence(np.eye(3), np.zeros(3), view)
    sequence.frame_annotations[0].annotations.add(object_id=9)
    (tmp_path / "a.pbdata").write_bytes(sequence.SerializeToString())
    read = load_annotations(tmp_path)
    assert (len(read.found), dict(read.skipped)) == (1, {"unknown object": 1})


def test_bad_objectron(tmp_path):
    path = tmp_path / "a.pbdata"
    path.write_bytes(b"")
    with pytest.raises(AnnotationError, match="no objects"):
        load_annotations(path)
    path.write_bytes(b"\x0a\xff\xff")
    with pytest.raises(AnnotationError, match="readable"):
        load_annotations(path)
    sequence, _ = objectron_sequence(np.eye(3), np.zeros(3), np.eye(4)[:2])
    path.write_bytes(sequence.SerializeToString())
    with pytest.raises(AnnotationError, match="frame 7"):
        load_annotations(path)


def street_view_text(heading, pitch, stand, normal=(0.0, -1.0, 0.0), target=(40.7, -74.0, 20.0)):
    numbers = [18, 71611, 4, 902, *target, *normal, *stand, 41.5, heading, pitch, 0.0]
    return "d " + " ".join(map(repr, numbers)) + "\n"


def test_street_view_puts_the_target_into_the_centre(tmp_path):
    # 40 m south of a target 18 m above the camera; a degree of latitude is 111.05 km here
    north = 40 / 111_050
    text = street_view_text(0.0, math.degrees(math.atan2(18, 40)), (40.7 - north, -74.0, 2.0))
    path = tmp_path / "0018_4_902_0071611.txt"
    path.write_text(text + "a 320 320\n")
    (one,) = load_annotations(tmp_path).found
    pixels, depth = one.camera.project([[0, 0, 0], [1, 0, 0], [0, 0, 1]])
    assert np.allclose(pixels[0], 320, atol=0.5)
    assert pixels[1, 0] > 325  # east is right
    assert pixels[2, 1] < 315  # up is up
    assert depth[0] == pytest.approx(math.hypot(18, 40), rel=2e-3)
    # the facade faces south, and there stands the camera
    assert one.camera.azimuth == pytest.approx(0, abs=1e-3)
    assert one.camera.elevation == pytest.approx(-math.degrees(math.atan2(18, 40)), abs=1e-6)
    assert (one.identity, one.details["aligned"], one.calibrated) == ("18-71611", True, False)
    assert one.image == tmp_path / "0018_4_902_0071611.jpg"


@pytest.mark.parametrize(("heading", "azimuth"), [(0, 0), (90, 270), (180, 180), (270, 90), (330, 30)])
def test_heading_turns_with_the_compass(tmp_path, heading, azimuth):
    path = tmp_path / "a.txt"
    path.write_text(street_view_text(heading, 0.0, (40.7, -74.0, 20.0)))
    (one,) = load_annotations(path).found
    assert (one.camera.azimuth - azimuth + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
    path.write_text(street_view_text(heading, 0.0, (40.7, -74.0, 20.0), normal=(1.0, 0.0, 0.0)))
    (one,) = load_annotations(path).found  # a facade that faces east sees it a quarter turn further
    assert (one.camera.azimuth - azimuth + 270) % 360 - 180 == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "said"), [("d 1 2 3\n", "numbers"), ("d x\n", "numbers"), ("a 1\n", "begins")]
)
def test_bad_street_view(tmp_path, text, said):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=said):
        read_street_view(path)


def test_formats_are_told_from_the_files(tmp_path):
    colmap_folder(tmp_path / "colmap")
    pascal_file(tmp_path / "a.mat", [{"viewpoint": viewpoint()}])
    assert format_of(tmp_path / "colmap") == "colmap"
    assert format_of(tmp_path / "a.mat") == "pascal3d"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(AnnotationError, match="known format"):
        load_annotations(empty)
    with pytest.raises(AnnotationError, match="exist"):
        load_annotations(tmp_path / "nothing")
    with pytest.raises(AnnotationError, match="no files of the format nerf"):
        load_annotations(empty, "nerf")
    with pytest.raises(ConfigError, match="pascal3d"):
        load_annotations(tmp_path, "kitti")
