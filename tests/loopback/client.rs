//! A CUDA client in a few lines: batches and replies of one session.

use std::sync::atomic::Ordering;

use vgpu_protocol::session::{
    due_entry, BatchHeader, CommandHeader, DueFunction, ReplyHeader, AVAIL_OFFSET, COMMAND_OFFSET, COMMAND_SIZE,
    DESC_OFFSET, DUE_OFFSET, QUEUE_SIZE, REPLY_DONE, REPLY_OFFSET, REPLY_SIZE, RUN_OFFSET, SLOTS, STAGING_OFFSET,
    USED_OFFSET,
};
use vgpu_protocol::{cmd, Command, Handle, HandleKind, Reader, Reply, Writer};
use vm_memory::{Bytes, GuestAddress};
use zerocopy::{FromBytes, IntoBytes};

use crate::backend::eventually;
use crate::vm::{arena, home, Queue, Ring, Vm};

/// Commands that go out together.
#[derive(Default, Clone)]
pub struct Batch {
    pub lane: u32,
    pub context: u64,
    count: u32,
    body: Vec<u8>,
}

impl Batch {
    pub fn new(lane: u32, context: Handle) -> Batch {
        Batch { lane, context: context.0, ..Batch::default() }
    }

    pub fn with<'a, C: Command<'a>>(mut self, command: &C) -> Batch {
        let mut payload = vec![0; command.size()];
        command.encode(&mut Writer::new(&mut payload)).unwrap();
        let header = CommandHeader { opcode: C::OPCODE, flags: 0, length: u32::try_from(payload.len()).unwrap() };
        self.body.extend_from_slice(header.as_bytes());
        self.body.extend(payload);
        self.count += 1;
        self
    }

    pub fn bytes(&self, sequence: u64) -> Vec<u8> {
        let header = BatchHeader {
            sequence,
            context: self.context,
            lane: self.lane,
            count: self.count,
            bytes: u32::try_from(self.body.len()).unwrap(),
            flags: 0,
        };
        [header.as_bytes(), &self.body].concat()
    }
}

const SPIN: &[u8] = b".version 7.0\n.target sm_75\n.address_size 64\n.visible .entry spin()\n{\nL:\n bra L;\n}\n\0";

pub struct Client {
    pub number: u32,
    pub queue: Queue,
    pub avail: u16,
    slot: usize,
    /// The first so many slots are used.
    pub slots: usize,
    sequence: u64,
    minted: u32,
    pub context: Handle,
}

/// A batch that has been sent.
#[derive(Clone, Copy)]
pub struct Sent(usize);

impl Client {
    /// Opens a session and retains the primary context.
    pub fn open(vm: &mut Vm, number: u32) -> Client {
        vm.write(home(number), &vec![0; STAGING_OFFSET]);
        let queue = vm.start_queue(number, 0);
        let (context, slots) = (Handle::NULL, SLOTS);
        let mut client = Client { number, queue, avail: 0, slot: 0, slots, sequence: 0, minted: 0, context };
        client.create(vm);
        client
    }

    pub fn create(&mut self, vm: &mut Vm) {
        assert_eq!(vm.create(self.number), vgpu_protocol::control::ControlStatus::Ok);
        self.context = self.mint(HandleKind::Context);
        let retain = cmd::VgpuPrimaryRetain { dev: 0, ctx: self.context };
        let header = self.send_batch(vm, &Batch::new(0, Handle::NULL).with(&retain));
        assert_eq!(self.wait(vm, header).0.result, 0);
    }

    pub fn mint(&mut self, kind: HandleKind) -> Handle {
        self.minted += 1;
        Handle::new(kind as u8, 1, self.minted)
    }

    pub fn staging(&self) -> u64 {
        arena(self.number) + STAGING_OFFSET as u64
    }

    pub fn reply_address(&self, sent: Sent) -> u64 {
        home(self.number) + (REPLY_OFFSET + sent.0 * REPLY_SIZE) as u64
    }

    pub fn send_bytes(&mut self, vm: &Vm, bytes: &[u8]) -> Sent {
        let sent = Sent(self.slot);
        self.slot = (self.slot + 1) % self.slots;
        let command = home(self.number) + (COMMAND_OFFSET + sent.0 * COMMAND_SIZE) as u64;
        let reply = self.reply_address(sent);
        vm.write(command, bytes);
        vm.write(reply, &[0; size_of::<ReplyHeader>()]);
        let offsets = [DESC_OFFSET as u64, AVAIL_OFFSET as u64, USED_OFFSET as u64];
        // used_event: a signal is wanted for this batch.
        vm.write(home(self.number) + AVAIL_OFFSET as u64 + 4 + u64::from(QUEUE_SIZE) * 2, &self.avail.to_le_bytes());
        let head = u16::try_from(sent.0 * 2).unwrap();
        let read = (command, u32::try_from(bytes.len()).unwrap());
        let ring = Ring { start: home(self.number), offsets, size: QUEUE_SIZE };
        vm.offer(&ring, self.avail, head, read, (reply, REPLY_SIZE as u32));
        self.queue.kick.write(1).unwrap();
        self.avail = self.avail.wrapping_add(1);
        sent
    }

    pub fn send_batch(&mut self, vm: &Vm, batch: &Batch) -> Sent {
        self.sequence += 1;
        let bytes = batch.bytes(self.sequence);
        self.send_bytes(vm, &bytes)
    }

    pub fn is_done(&self, vm: &Vm, sent: Sent) -> bool {
        vm.load(self.reply_address(sent)) == REPLY_DONE
    }

    pub fn wait(&self, vm: &Vm, sent: Sent) -> (ReplyHeader, Vec<u8>) {
        let address = self.reply_address(sent);
        eventually("a reply", || self.is_done(vm, sent).then_some(()));
        let header = ReplyHeader::read_from_bytes(&vm.read(address, size_of::<ReplyHeader>())).unwrap();
        (header, vm.read(address + size_of::<ReplyHeader>() as u64, header.bytes as usize))
    }

    pub fn batch(&self, lane: u32) -> Batch {
        Batch::new(lane, self.context)
    }

    /// Sends one command on lane 0: header and decoded outputs.
    pub fn ask<'a, C: Command<'a>>(&mut self, vm: &Vm, command: &C) -> (ReplyHeader, Option<C::Reply>) {
        let batch = self.batch(0).with(command);
        let sent = self.send_batch(vm, &batch);
        let (header, outputs) = self.wait(vm, sent);
        let good = header.result == 0 && header.latched == 0;
        (header, good.then(|| C::Reply::decode(&mut Reader::new(&outputs)).unwrap()))
    }

    /// A command that must succeed.
    pub fn call<'a, C: Command<'a>>(&mut self, vm: &Vm, command: &C) -> C::Reply {
        let (header, reply) = self.ask(vm, command);
        reply.unwrap_or_else(|| panic!("{}: {header:?}", C::NAME))
    }

    pub fn result<'a, C: Command<'a>>(&mut self, vm: &Vm, command: &C) -> u32 {
        self.ask(vm, command).0.result
    }

    /// Loads the mock module and finds a kernel.
    pub fn kernel(&mut self, vm: &Vm, name: &str) -> Handle {
        self.kernel_of(vm, b"mock image with vprintf", name)
    }

    /// Loads a module and finds a kernel.
    pub fn kernel_of(&mut self, vm: &Vm, image: &[u8], name: &str) -> Handle {
        self.load(vm, image, name, 64).1
    }

    /// A module and its kernel that never ends, on the software GPU.
    pub fn endless_kernel(&mut self, vm: &Vm) -> (Handle, Handle) {
        self.load(vm, SPIN, "spin", 0)
    }

    fn load(&mut self, vm: &Vm, image: &[u8], name: &str, params_size: u32) -> (Handle, Handle) {
        vm.write(home(self.number) + STAGING_OFFSET as u64, image);
        let (module, function) = (self.mint(HandleKind::Module), self.mint(HandleKind::Function));
        let (image, size) = (self.staging(), image.len() as u64);
        let loaded =
            self.call(vm, &cmd::VgpuModuleLoad { module, image, size, options: &[], log_size: 512, values_size: 0 });
        assert_eq!(loaded.result, 0, "{}", String::from_utf8_lossy(&loaded.log));
        self.call(vm, &cmd::VgpuModuleGetFunction { function, module, name: name.as_bytes(), params_size });
        (module, function)
    }

    /// Waits until function `number` (from 0) is due.
    pub fn due_function(&self, vm: &Vm, number: u32) -> DueFunction {
        let due = home(self.number) + DUE_OFFSET as u64;
        eventually("a host function", || (vm.load(due).wrapping_sub(number) as i32 > 0).then_some(()));
        let entry = vm.read(home(self.number) + due_entry(number) as u64, size_of::<DueFunction>());
        DueFunction::read_from_bytes(&entry).unwrap()
    }

    /// Says that `count` functions have run.
    pub fn functions_have_run(&self, vm: &Vm, count: u32) {
        vm.memory.store(count, GuestAddress(home(self.number) + RUN_OFFSET as u64), Ordering::Release).unwrap();
    }

    pub fn launch<'a>(&self, function: Handle, params: &'a [u8]) -> cmd::VgpuLaunch<'a> {
        self.launch_on(function, Handle::NULL, params)
    }

    pub fn launch_on<'a>(&self, function: Handle, stream: Handle, params: &'a [u8]) -> cmd::VgpuLaunch<'a> {
        cmd::VgpuLaunch {
            function,
            grid_x: 1,
            grid_y: 1,
            grid_z: 1,
            block_x: 1,
            block_y: 1,
            block_z: 1,
            shared: 0,
            stream,
            attributes: &[],
            params,
        }
    }
}

pub fn store_avail(vm: &Vm, number: u32, index: u16) {
    vm.memory.store(index, GuestAddress(home(number) + AVAIL_OFFSET as u64 + 2), Ordering::Release).unwrap();
}
