"""The engine and the machine that the other tests stand on."""

import unittest

import engine
import machine


class Engine(unittest.TestCase):
    def test_a_machine_boots_and_its_disk_outlives_reboot_and_power_cut(self):
        eng = engine.current
        with machine.Machine(eng, machine.image(eng), "boot") as m:
            m.put("/etc/systemd/system/dummy.service", "[Service]\nType=notify\nStateDirectory=dummy\nExecStart=/bin/sh -c "
                    "'systemd-notify --ready; exec sleep infinity'\nNotifyAccess=all\n[Install]\nWantedBy=multi-user.target\n")
            m.systemctl("daemon-reload")
            m.systemctl("enable", "--now", "dummy")
            m.wait_active("dummy")
            first = m.value("dummy", "InvocationID")
            m.sh("echo kept >/var/lib/dummy/file")
            for again in (m.reboot, m.cut_power):
                again()
                m.wait_active("dummy")
                self.assertEqual(m.sh("cat /var/lib/dummy/file"), "kept")
                self.assertNotEqual(m.value("dummy", "InvocationID"), first)
