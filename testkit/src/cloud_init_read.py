# cloud_init_read.py: what cloud-init makes of a seed's files, without a machine to boot. Reads a request in JSON
# from its standard input, writes the answer in JSON. Which cloud-init answers, PYTHONPATH says.
import json, logging, os, sys, tempfile

request = json.load(sys.stdin)
logged = []


class Log(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            logged.append(record.getMessage())


logging.getLogger().addHandler(Log())

from cloudinit import handlers, helpers, user_data, util
from cloudinit.handlers.cloud_config import CloudConfigPartHandler


class Source:
    def get_instance_id(self):
        return "i"


# The cloud-config that it puts together from the file user-data, by its own handlers.
def config(text):
    with tempfile.TemporaryDirectory() as directory:
        paths = helpers.Paths({"cloud_dir": directory, "run_dir": directory}, ds=Source())
        message = user_data.UserDataProcessor(paths).process(text)
        handler = CloudConfigPartHandler(paths)
        os.makedirs(os.path.dirname(handler.cloud_fn), exist_ok=True)
        taking = helpers.ContentHandlers()
        taking.register(handler)
        handlers.call_begin(handler, None, "once")
        data = {
            "handlers": taking, "handlerdir": directory, "data": None, "frequency": "once",
            "handlercount": 0, "excluded": ["text/x-shellscript"],
        }
        handlers.walk(message, handlers.walker_callback, data=data)
        handlers.call_end(handler, None, "once")
        return util.load_yaml(open(handler.cloud_fn).read(), default={}) or {}


# One of them gives its files to a user that this host may not have.
util.chownbyname = lambda *_: None


# The files that each of its renderers writes for the file network-config.
def network(text):
    from cloudinit.net import eni, netplan, network_manager, network_state, networkd, sysconfig
    from cloudinit.distros import rhel

    parsed = util.load_yaml(text)
    found = {}
    settings = {
        "eni": (eni, {"eni_path": "etc/network/interfaces", "netrules_path": None, "eni_header": ""}),
        "netplan": (netplan, {"netplan_path": "etc/netplan/50-cloud-init.yaml", "postcmds": False}),
        "networkd": (networkd, {"network_conf_dir": "/etc/systemd/network/", "resolve_conf_fn": "etc/resolved.conf"}),
        "network-manager": (network_manager, {}),
        "sysconfig": (sysconfig, rhel.Distro.renderer_configs.get("sysconfig")),
    }
    for name, (module, config) in settings.items():
        with tempfile.TemporaryDirectory() as root:
            renderer = module.Renderer(config)
            state = network_state.parse_net_config_data(parsed, renderer=renderer)
            renderer.render_network_state(state, target=root)
            files = {}
            for place, _, names in os.walk(root):
                for file in names:
                    path = os.path.join(place, file)
                    files[os.path.relpath(path, root)] = open(path).read()
            found[name] = files
    return found


# The programs that the guest's distribution would run for the accounts of a cloud-config, as its own code says:
# of Alpine with what busybox has, of the others with useradd and its kin.
def accounts(name, settings):
    from cloudinit import distros, ssh_util, subp
    from cloudinit.distros import ug_util

    run = []
    distros.subp.subp = subp.subp = lambda args, *_, **__: run.append(args) or ("", "")
    subp.which = lambda program, *_, **__: None if program in ("useradd", "usermod") and name == "alpine" else program
    util.is_user = util.is_group = lambda _: False
    ssh_util.setup_user_keys = lambda *_: None
    with tempfile.TemporaryDirectory() as directory:
        paths = helpers.Paths({"cloud_dir": directory, "run_dir": directory}, ds=Source())
        distribution = distros.fetch(name)(name, {}, paths)
        distribution.write_sudo_rules = lambda *_: None
        distribution.manage_service = lambda *_: None
        distribution.shadow_fn = os.path.join(directory, "shadow")
        open(distribution.shadow_fn, "w").close()
        users, _ = ug_util.normalize_users_groups(settings, distribution)
        for user, keys in users.items():
            distribution.create_user(user, **keys)
    return run


answer = {"configs": [], "logs": []}
for text in request.get("configs", []):
    logged.clear()
    try:
        answer["configs"].append(config(text))
    except Exception as error:
        answer["configs"].append(None)
        logged.append(repr(error))
    answer["logs"].append(list(logged))
if "network" in request:
    answer["network"] = network(request["network"])
if "accounts" in request:
    answer["accounts"] = [[str(word) for word in command] for command in accounts(*request["accounts"])]
# Values of YAML that JSON has not, as dates.
json.dump(answer, sys.stdout, default=str)
